//! The three things that rdkafka does not offer: setting single settings, hearing why a topic's settings are not told
//! (it answers with none), and what went wrong with the connections.
//!
//! Everything here blocks, [`describe`] and [`alter`] for up to [`ANSWER`] and a second. Codes and sources that come from
//! Kafka are taken over as rdkafka itself takes them.
#![allow(unsafe_code, reason = "librdkafka is called where rdkafka has no function")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, NulError, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use rdkafka::types::{RDKafka, RDKafkaErrorCode};

use super::config::ANSWER;

pub(super) type Client = AdminClient<DefaultClientContext>;

/// What a question is about.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Topic,
    Broker,
}

/// The answer about one topic or broker.
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) result: Result<Vec<Entry>, (RDKafkaErrorCode, String)>,
}

/// A setting that was told.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) on_topic: bool,
}

/// Why there is no answer at all.
pub(super) enum Failure {
    /// What was to be asked cannot be written down.
    Unsendable(String),
    /// What librdkafka says.
    Kafka(RDKafkaErrorCode),
}

impl From<NulError> for Failure {
    fn from(_: NulError) -> Self {
        Self::Unsendable("a NUL character in a name or a value".to_owned())
    }
}

/// Asks for the named settings of some topics, or of one broker.
pub(super) fn describe<'a>(
    client: &Client,
    kind: Kind,
    of: impl IntoIterator<Item = &'a str>,
    names: &BTreeSet<String>,
) -> Result<Vec<Answer>, Failure> {
    let resource = |name| {
        let resource = Resource::new(kind, name)?;
        names.iter().try_for_each(|name| resource.ask_for(name)).map(|()| resource)
    };
    let resources = of.into_iter().map(resource).collect::<Result<Vec<_>, _>>()?;
    request(client, &resources, sys::rd_kafka_DescribeConfigs, |event, count| {
        // SAFETY: `event` is a live event, and `count` can be written. Of another type, it has no such result.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event);
            if result.is_null() {
                return std::ptr::null();
            }
            sys::rd_kafka_DescribeConfigs_result_resources(result, count)
        }
    })
}

/// Sets settings of topics, and leaves the others as they are.
pub(super) fn alter(
    client: &Client,
    changes: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Vec<Answer>, Failure> {
    let resource = |(topic, settings): (&String, &BTreeMap<String, String>)| {
        let resource = Resource::new(Kind::Topic, topic)?;
        settings.iter().try_for_each(|(name, value)| resource.set(name, value)).map(|()| resource)
    };
    let resources = changes.iter().map(resource).collect::<Result<Vec<_>, _>>()?;
    request(client, &resources, sys::rd_kafka_IncrementalAlterConfigs, |event, count| {
        // SAFETY: as above.
        unsafe {
            let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event);
            if result.is_null() {
                return std::ptr::null();
            }
            sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, count)
        }
    })
}

/// What went wrong with connections since the last call, oldest first. Unless somebody asks, librdkafka keeps it all.
pub(super) fn complaints(client: &Client) -> Vec<RDKafkaErrorCode> {
    // SAFETY: the client lives as long as it is borrowed; the reference to its queue is given back by `Owned`.
    let queue = Owned::new(unsafe { sys::rd_kafka_queue_get_main(pointer(client)) }, sys::rd_kafka_queue_destroy);
    let mut complaints = Vec::new();
    while let Some(event) = poll(&queue, Duration::ZERO) {
        // SAFETY: a live event; texts of events live as long as they.
        let (kind, code, text) = unsafe {
            let event = event.pointer();
            (sys::rd_kafka_event_type(event), sys::rd_kafka_event_error(event), text_of_error(event))
        };
        if kind == sys::RD_KAFKA_EVENT_ERROR {
            tracing::debug!(text, "librdkafka complains");
            complaints.push(code.into());
        }
    }
    complaints
}

/// A thing of librdkafka that is ours to destroy.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes over what librdkafka made: it answers with null only where its documentation says so.
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Self {
        Self { pointer: NonNull::new(pointer).expect("librdkafka makes what it is asked to make"), destroy }
    }

    fn pointer(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it is ours, nobody has it besides, and `destroy` is the function for its type.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// What settings are asked of, or set on.
struct Resource(Owned<sys::rd_kafka_ConfigResource_t>);

impl Resource {
    fn new(kind: Kind, name: &str) -> Result<Self, Failure> {
        let kind = match kind {
            Kind::Topic => sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            Kind::Broker => sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER,
        };
        if name.is_empty() {
            return Err(Failure::Unsendable("an empty name".to_owned()));
        }
        let name = CString::new(name)?;
        // SAFETY: a C string that librdkafka copies; null only for an empty one.
        let resource = unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
        Ok(Self(Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)))
    }

    /// Of those that are described: this setting too. With none, Kafka tells all.
    fn ask_for(&self, name: &str) -> Result<(), Failure> {
        let (name, value) = (CString::new(name)?, c"");
        // SAFETY: a live resource, and C strings that librdkafka copies. The value is not sent.
        let code = unsafe { sys::rd_kafka_ConfigResource_set_config(self.0.pointer(), name.as_ptr(), value.as_ptr()) };
        match code.into() {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(Failure::Unsendable(code.to_string())),
        }
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Failure> {
        let (name, value) = (CString::new(name)?, CString::new(value)?);
        let set = sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
        // SAFETY: a live resource, and C strings that librdkafka copies.
        let error = unsafe {
            sys::rd_kafka_ConfigResource_add_incremental_config(self.0.pointer(), name.as_ptr(), set, value.as_ptr())
        };
        if error.is_null() {
            return Ok(());
        }
        let error = Owned::new(error, sys::rd_kafka_error_destroy);
        // SAFETY: a live error, whose text lives as long.
        Err(Failure::Unsendable(unsafe { text(sys::rd_kafka_error_string(error.pointer())) }))
    }
}

type Call = unsafe extern "C" fn(
    *mut RDKafka,
    *mut *mut sys::rd_kafka_ConfigResource_t,
    usize,
    *const sys::rd_kafka_AdminOptions_t,
    *mut sys::rd_kafka_queue_t,
);

/// Sends a request, waits for the answer, and copies what it says. `resources_of` finds the resources in the answer, and how
/// many there are; null if it is an answer to something else.
fn request(
    client: &Client,
    resources: &[Resource],
    call: Call,
    resources_of: impl FnOnce(*mut sys::rd_kafka_event_t, *mut usize) -> *const *const sys::rd_kafka_ConfigResource_t,
) -> Result<Vec<Answer>, Failure> {
    let options = options(client)?;
    // SAFETY: the client lives as long as it is borrowed.
    let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(pointer(client)) }, sys::rd_kafka_queue_destroy);
    let mut pointers: Vec<_> = resources.iter().map(|resource| resource.0.pointer()).collect();
    // SAFETY: all of them are live, and as many as is said; librdkafka copies the resources and the options, and counts its
    // own reference to the queue.
    unsafe {
        call(pointer(client), pointers.as_mut_ptr(), pointers.len(), options.pointer(), queue.pointer());
    }
    // librdkafka answers in time by itself, if only to say that Kafka did not.
    let event = poll(&queue, ANSWER + Duration::from_secs(1));
    let event = event.ok_or(Failure::Kafka(RDKafkaErrorCode::OperationTimedOut))?;
    // SAFETY: a live event.
    match unsafe { sys::rd_kafka_event_error(event.pointer()) }.into() {
        RDKafkaErrorCode::NoError => {}
        code => return Err(Failure::Kafka(code)),
    }
    let mut count = 0;
    let first = resources_of(event.pointer(), &raw mut count);
    if first.is_null() {
        return Err(Failure::Kafka(RDKafkaErrorCode::Inconsistent));
    }
    // SAFETY: librdkafka says that there are so many, and they live as long as the event.
    Ok((0..count).map(|index| unsafe { answer(*first.add(index)) }).collect())
}

fn options(client: &Client) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, Failure> {
    // SAFETY: the client is live; null is said for unknown operations only, and "any" is none.
    let options =
        unsafe { sys::rd_kafka_AdminOptions_new(pointer(client), sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ANY) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy);
    let mut error: [c_char; 256] = [0; 256];
    // SAFETY: live options, and a buffer of the length that is said.
    let code = unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.pointer(),
            millis(ANSWER),
            error.as_mut_ptr(),
            error.len(),
        )
    };
    match code.into() {
        RDKafkaErrorCode::NoError => Ok(options),
        code => Err(Failure::Kafka(code)),
    }
}

/// Waits for an event.
fn poll(queue: &Owned<sys::rd_kafka_queue_t>, at_most: Duration) -> Option<Owned<sys::rd_kafka_event_t>> {
    // SAFETY: a live queue. The event is ours.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.pointer(), millis(at_most)) };
    (!event.is_null()).then(|| Owned::new(event, sys::rd_kafka_event_destroy))
}

/// Copies an answer.
///
/// # Safety
/// `resource` is live.
unsafe fn answer(resource: *const sys::rd_kafka_ConfigResource_t) -> Answer {
    // SAFETY: the resource is live, and what it points to lives as long.
    unsafe {
        let name = text(sys::rd_kafka_ConfigResource_name(resource));
        let code = sys::rd_kafka_ConfigResource_error(resource).into();
        if code != RDKafkaErrorCode::NoError {
            let said = text(sys::rd_kafka_ConfigResource_error_string(resource));
            return Answer { name, result: Err((code, said)) };
        }
        let mut count = 0;
        let first = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        // An empty list has no first element to point to.
        let entries = (0..count).map(|index| entry(*first.add(index))).collect();
        Answer { name, result: Ok(entries) }
    }
}

/// Copies a setting.
///
/// # Safety
/// `entry` is live.
unsafe fn entry(entry: *const sys::rd_kafka_ConfigEntry_t) -> Entry {
    // SAFETY: the entry is live, and so are its texts; a value may be missing.
    unsafe {
        let value = sys::rd_kafka_ConfigEntry_value(entry);
        let on_topic = sys::rd_kafka_ConfigSource_t::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG;
        Entry {
            name: text(sys::rd_kafka_ConfigEntry_name(entry)),
            value: (!value.is_null()).then(|| text(value)),
            on_topic: sys::rd_kafka_ConfigEntry_source(entry) == on_topic,
        }
    }
}

/// What an event says of its error.
///
/// # Safety
/// `event` is live.
unsafe fn text_of_error(event: *mut sys::rd_kafka_event_t) -> String {
    // SAFETY: the event is live, and its text lives as long.
    unsafe { text(sys::rd_kafka_event_error_string(event)) }
}

/// Copies a text.
///
/// # Safety
/// `text` is null or a live C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it is a live C string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn pointer(client: &Client) -> *mut RDKafka {
    client.inner().native_ptr()
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}
