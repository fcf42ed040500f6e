//! The database goes, and a standby takes its place.

use super::*;

/// A server, a standby of it, and the URL that names both.
pub(super) fn pair(folder: &Folder) -> Option<(Postgres, Postgres, String)> {
    let primary = Postgres::start(folder)?;
    let standby = primary.standby(folder);
    let place = |url: &str| url.split(['@', '/']).nth(3).unwrap().to_owned();
    let (one, other) = (place(&primary.url), place(&standby.url));
    let url = primary.url.replace(&one, &format!("{one},{other}")) + "?target_session_attrs=read-write";
    Some((primary, standby, url))
}

#[test]
fn always_what_was_answered_is_there_after_a_failover_to_a_synchronous_standby() {
    let folder = Folder::new("failover");
    let Some((primary, standby, url)) = pair(&folder) else { return };
    primary.tell("wait");
    let mut cluster = Cluster::start(&folder, &url, 3, true);
    let before = log_id(&cluster.hubs[0]);
    let (took, writes) = cluster.under_load(|_, load| {
        load.each_again(every, 3, now());
        let lost = now();
        primary.tell("kill9");
        standby.tell("promote");
        load.each_again(every, 3, lost)
    });
    let (count, wrong) = (writes.iter().map(Vec::len).sum::<usize>(), errors(&writes));
    println!(
        "failover to a synchronous standby: {count} writes, {} errors, every spoke writes again after {} ms",
        wrong.len(),
        took.as_millis()
    );
    assert_eq!(wrong.len(), 0, "{wrong:?}");
    assert_eq!(log_id(&cluster.hubs[0]), before, "the log goes on");
    assert_eq!(log_id(&cluster.hubs[1]), before);
    let verdict = cluster.judge(&writes);
    println!("failover to a synchronous standby: {verdict}");
    assert!(verdict.is_kept(), "{verdict:?}");
}

#[test]
fn finally_spokes_give_back_what_an_asynchronous_standby_lacked() {
    let folder = Folder::new("failover-late");
    let Some((primary, standby, url)) = pair(&folder) else { return };
    // From the first backup on spokes keep what they were told of.
    let mut cluster = Cluster::start_with(&folder, &url, (3, true), |hub| {
        assert_eq!(hub.on_store(&["backup", "create", &folder.at("backup")]).code, 0);
    });
    let before = log_id(&cluster.hubs[0]);
    let (lost, writes) = cluster.under_load(|_, load| {
        load.each_again(every, 3, now());
        standby.tell("detach");
        load.each_again(every, 5, now());
        now()
    });
    primary.tell("kill9");
    standby.tell("promote");
    for spoke in &cluster.spokes {
        until("the spoke stops, and says so", || is_stopped(spoke).then_some(()));
    }
    println!(
        "failover to an asynchronous standby: every spoke has stopped after {} ms",
        lost.elapsed().as_millis()
    );
    let after = log_id(&cluster.hubs[0]);
    assert_ne!(after, before, "the log is a new one");
    assert_eq!(log_id(&cluster.hubs[1]), after, "for every gateway");

    let begun = cluster.hubs[0].admin(&["recover"]).json();
    assert_eq!(begun["phase"], "recovering", "{begun}");
    for spoke in &cluster.spokes {
        until("the spoke goes on", || (!is_stopped(spoke)).then_some(()));
    }
    let verdict = cluster.judge(&writes);
    println!("failover to an asynchronous standby: {verdict}");
    assert!(verdict.is_kept(), "{verdict:?}");
    assert_eq!(cluster.hubs[1].admin(&["recover", "--finish"]).json()["phase"], "finished");
}

#[test]
fn eventually_all_go_on_after_a_synchronous_standby_was_gone() {
    let folder = Folder::new("standby-gone");
    let Some((primary, standby, url)) = pair(&folder) else { return };
    primary.tell("wait");
    let mut cluster = Cluster::start(&folder, &url, 3, true);
    let before = log_id(&cluster.hubs[0]);
    let ((told, took), writes) = cluster.under_load(|hubs, load| {
        load.each_again(every, 1, now());
        standby.tell("stop");
        let gone = now();
        for hub in hubs.iter() {
            until("the gateway says that it is not ready", || {
                (hub.admin(&["health"]).code != 0).then_some(())
            });
        }
        let told = gone.elapsed();
        standby.tell("start");
        let back = now();
        let took = load.each_again(every, 2, back);
        for hub in hubs.iter() {
            until("the gateway is ready again", || (hub.admin(&["health"]).code == 0).then_some(()));
        }
        (told, took)
    });
    println!(
        "a synchronous standby was gone: {} writes, {} errors; no gateway was ready after {} ms; \
         every spoke writes again {} ms after it was back",
        writes.iter().map(Vec::len).sum::<usize>(),
        errors(&writes).len(),
        told.as_millis(),
        took.as_millis()
    );
    assert_eq!(log_id(&cluster.hubs[0]), before, "the log goes on");
    let verdict = cluster.judge(&writes);
    println!("a synchronous standby was gone: {verdict}");
    assert!(verdict.is_kept(), "{verdict:?}");
}
