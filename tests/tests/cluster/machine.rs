//! The machine beside its own cluster: what each reaches of the other.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use imcluster_tests::cluster::Namespace;
use imcluster_tests::cluster::network::MACHINE;

use crate::eventually::eventually;
use crate::played::played_pods_in;
use crate::pods::greeters_in;

/// Longest wait for a connection or an answer.
const ANSWER: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn the_machine_reaches_a_service_by_its_address() {
    let namespace = Namespace::new("reached");
    greeters_in(&namespace, 1);
    let service = namespace.get(&["service", "greeter"]);
    let address: IpAddr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    let mut stream = eventually(|| TcpStream::connect_timeout(&SocketAddr::new(address, 80), ANSWER));
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream.write_all(b"GET /hello HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn a_pod_reaches_what_the_machine_has_for_it() {
    let listener = TcpListener::bind((MACHINE, 0)).expect("the address that the cluster has for the machine");
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // All of the request first, or the answer could be lost with what nobody read.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nmachine").unwrap();
    });
    let namespace = Namespace::new("reaching");
    greeters_in(&namespace, 1);
    let said = namespace.run(&["exec", "greeter-0", "--", "/bin/busybox", "wget", "-q", "-O", "-", &url]);
    assert_eq!(said, "machine");
    answering.join().unwrap();
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn one_listener_of_the_machine_answers_for_every_played_pod() {
    let namespace = Namespace::new("answered");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in played_pods_in(&namespace, 3) {
        let pod = SocketAddr::new(address.parse().unwrap(), port);
        let _calling = TcpStream::connect_timeout(&pod, ANSWER).unwrap();
        let (called, _) = listener.accept().unwrap();
        assert_eq!(called.local_addr().unwrap(), pod, "the address it was called by tells which pod was meant");
    }
}
