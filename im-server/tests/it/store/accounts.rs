//! Accounts.

use im_server::store::{Account, NewAccount, ProfileChange};

use super::world::{Db, NOW, account, id, people};

async fn an_id_is_unique_without_regard_to_case(store: Db) {
    assert!(store.create_account(account("Alice")).await.unwrap());
    assert!(!store.create_account(account("aLICE")).await.unwrap());
    assert_eq!(store.accounts(&[id("alice")]).await.unwrap()[0].as_ref().unwrap().user, id("Alice"));
}

async fn accounts_come_in_the_order_asked_spelled_as_registered(store: Db) {
    people(&store, ["alice", "Bob"]).await;
    let found = store.accounts(&[id("BOB"), id("nobody"), id("alice"), id("bob")]).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|account| account.map(|account| account.user)).collect();
    assert_eq!(found, [Some(id("Bob")), None, Some(id("alice")), Some(id("Bob"))]);
}

async fn credentials_are_found_without_regard_to_case(store: Db) {
    people(&store, ["alice"]).await;
    let found = store.credentials(&id("ALICE")).await.unwrap();
    assert_eq!(found, Some((id("alice"), "hash of alice".to_owned())));
    assert_eq!(store.credentials(&id("bob")).await.unwrap(), None);
}

async fn a_profile_changes_only_where_asked(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let change = ProfileChange { avatar: Some("https://a".to_owned()), ..ProfileChange::default() };
    let expected = Account { user: alice.clone(), name: "alice's name".to_owned(), avatar: "https://a".to_owned() };
    assert_eq!(store.update_profile(&alice, change).await.unwrap(), Some(expected.clone()));
    let change = ProfileChange { name: Some("Alice".to_owned()), ..ProfileChange::default() };
    let expected = Account { name: "Alice".to_owned(), ..expected };
    assert_eq!(store.update_profile(&alice, change.clone()).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.accounts(std::slice::from_ref(&alice)).await.unwrap(), [Some(expected)]);
    assert_eq!(store.update_profile(&id("bob"), change).await.unwrap(), None);
}

async fn search_finds_the_beginning_of_an_id_and_any_part_of_a_name(store: Db) {
    for (user, name) in [("alice", "Liddell"), ("bob", "Robert"), ("xalice", "爱丽丝 Wu"), ("zoe", "100%")] {
        let account = NewAccount { user: id(user), name: name.to_owned(), password_hash: String::new(), created: NOW };
        assert!(store.create_account(account).await.unwrap());
    }
    for (query, found) in [
        ("AL", vec!["alice"]),
        ("dell", vec!["alice"]),
        ("丽丝", vec!["xalice"]),
        ("%", vec!["zoe"]),
        ("_", vec![]),
        ("\\", vec![]),
        ("e", vec!["alice", "bob"]),
    ] {
        let accounts = store.search_accounts(query, None, 10).await.unwrap();
        let users: Vec<_> = accounts.iter().map(|account| account.user.as_str()).collect();
        assert_eq!(users, found, "{query}");
    }
}

async fn search_goes_on_after_a_user(store: Db) {
    people(&store, ["a1", "a2", "a3"]).await;
    let first = store.search_accounts("a", None, 2).await.unwrap();
    assert_eq!(first.iter().map(|account| account.user.as_str()).collect::<Vec<_>>(), ["a1", "a2"]);
    let rest = store.search_accounts("a", Some(&id("a2")), 2).await.unwrap();
    assert_eq!(rest.iter().map(|account| account.user.as_str()).collect::<Vec<_>>(), ["a3"]);
}

async fn last_seen_never_goes_back(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    store.save_last_seen(&[(alice.clone(), 5), (alice.clone(), 9), (alice.clone(), 7)]).await.unwrap();
    store.save_last_seen(&[(alice.clone(), 8), (id("nobody"), 1)]).await.unwrap();
    assert_eq!(store.last_seen(&[bob, id("nobody"), alice]).await.unwrap(), [None, None, Some(9)]);
}

contract!(
    an_id_is_unique_without_regard_to_case,
    accounts_come_in_the_order_asked_spelled_as_registered,
    credentials_are_found_without_regard_to_case,
    a_profile_changes_only_where_asked,
    search_finds_the_beginning_of_an_id_and_any_part_of_a_name,
    search_goes_on_after_a_user,
    last_seen_never_goes_back,
);
