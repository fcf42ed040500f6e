//! A gateway that is frozen (SIGSTOP): its connections stand, its machine takes new ones, and nothing answers.

use std::time::Duration;

use trials::proxy::Proxy;

use super::*;

/// How long every spoke took to write again, and how many gateways it took.
fn freeze(cluster: &mut Cluster<'_>, noticed: impl FnOnce(&[Hub; 2])) -> Duration {
    let (took, writes) = cluster.under_load(|hubs, load| {
        load.each_again(every, 2, now());
        let stopped = now();
        hubs[0].process().signal("-STOP");
        noticed(hubs);
        let took = load.each_again(every, 2, stopped);
        hubs[0].process().signal("-CONT");
        load.each_again(every, 2, now());
        took
    });
    assert_eq!(errors(&writes).len(), 0, "{:?}", errors(&writes));
    let verdict = cluster.judge(&writes);
    assert!(verdict.is_kept(), "{verdict:?}");
    took
}

#[test]
fn eventually_every_spoke_writes_again_when_the_first_of_two_endpoints_is_frozen() {
    let folder = Folder::new("frozen-first");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let urls = |hubs: &[Hub; 2]| hubs.iter().map(Hub::url).collect();
    let mut cluster = Cluster::start_behind(&folder, &postgres.url, 3, urls);
    let took = freeze(&mut cluster, |_| {});
    println!("the first of two endpoints frozen: every spoke writes again after {} ms", took.as_millis());
}

#[test]
fn eventually_every_spoke_writes_again_when_a_gateway_behind_a_balancer_is_frozen() {
    let folder = Folder::new("frozen-behind");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let mut balancer = None;
    let mut cluster = Cluster::start_behind(&folder, &postgres.url, 3, |hubs| {
        let proxy = balancer.insert(Proxy::before(&hubs[0].address()));
        vec![format!("https://{}", proxy.address())]
    });
    let balancer = balancer.unwrap();
    let took = freeze(&mut cluster, |hubs| {
        // What the balancer asks of each gateway is not answered any more: who connects from now on goes elsewhere.
        until("the probe fails", || (hubs[0].admin(&["health"]).code != 0).then_some(()));
        balancer.lead_to(&hubs[1].address());
    });
    println!("a gateway behind a balancer frozen: every spoke writes again after {} ms", took.as_millis());
}
