//! Positions in a log that nobody was given, or somebody else was.

use proto::v1;
use proto::v1::session_request::Message as Say;
use semantics::reason::Reason::{BadToken, LogForked, Malformed, TooLarge};

use super::node::{Node, hello};
use super::table::{Heard, Row, attack, told};
use super::world::World;

const FORKED: Heard = Heard::Refused(LogForked);
const BAD_TOKEN: Heard = Heard::Refused(BadToken);

/// A good cursor of this node.
async fn cursor(node: &Node) -> v1::Cursor {
    let mut talk = node.open(Say::Hello(hello())).await.unwrap();
    talk.next().await;
    talk.cut().await
}

/// What a hello with this cursor hears.
async fn stands(world: &World, cursor: v1::Cursor) -> Heard {
    world.talker.hello(v1::Hello { cursor: Some(cursor), ..hello() }).await
}

async fn resumes(world: &World, resume: Vec<u8>) -> Heard {
    world.talker.hello(v1::Hello { resume: Some(resume), ..hello() }).await
}

async fn pulls(node: &Node, from: v1::pull_request::From) -> Heard {
    let answer = node.sync().pull(node.by(v1::PullRequest { from: Some(from) })).await;
    let mut pages = match answer {
        Ok(pages) => pages.into_inner(),
        Err(status) => return told::<()>(Err(status)),
    };
    loop {
        match pages.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Heard::Taken,
            Err(status) => return told::<()>(Err(status)),
        }
    }
}

pub fn rows() -> Vec<Row> {
    let mut rows = cursors();
    rows.extend(resume());
    rows
}

fn cursors() -> Vec<Row> {
    vec![
        attack!("a cursor of another hub", Node, FORKED, |world| {
            let there = world.other_hub.node("acme", "elsewhere").await;
            stands(world, cursor(&there).await).await
        }),
        attack!("a cursor of another tenant", Node, FORKED, |world| {
            stands(world, cursor(&world.stranger).await).await
        }),
        attack!("a cursor of another log", Node, FORKED, |world| {
            let good = cursor(&world.talker).await;
            stands(world, v1::Cursor { log_id: vec![7; 16], ..good }).await
        }),
        attack!("a cursor of the future", Node, FORKED, |world| {
            let good = cursor(&world.talker).await;
            stands(world, v1::Cursor { commit: good.commit + 1_000, revision: good.revision + 1_000, ..good })
                .await
        }),
        attack!("a cursor with another history", Node, FORKED, |world| {
            let good = cursor(&world.talker).await;
            stands(world, v1::Cursor { chain: vec![7; 32], ..good }).await
        }),
        attack!("a cursor of the future in a pull", Node, FORKED, |world| {
            let good = cursor(&world.talker).await;
            let beyond = v1::Cursor { commit: u64::MAX, revision: u64::MAX, ..good };
            pulls(&world.talker, v1::pull_request::From::Cursor(beyond)).await
        }),
        attack!("an acknowledgement of what was not sent", Node, Heard::Goodbye(Malformed), |world| {
            let good = cursor(&world.talker).await;
            let beyond = v1::Cursor { commit: good.commit + 1, revision: good.revision + 1, ..good };
            world
                .talker
                .says(Say::Ack(v1::Ack { cursor: Some(beyond), answered_n: None, summed: None }))
                .await
        }),
        attack!("an acknowledgement of another tenant's cursor", Node, Heard::Goodbye(Malformed), |world| {
            let foreign = cursor(&world.stranger).await;
            world
                .talker
                .says(Say::Ack(v1::Ack { cursor: Some(foreign), answered_n: None, summed: None }))
                .await
        }),
    ]
}

fn resume() -> Vec<Row> {
    vec![
        attack!("a resume position of one's own making", Node, BAD_TOKEN, |world| {
            resumes(world, vec![1, 2, 3]).await
        }),
        attack!("a sealed resume position with one bit changed", Node, BAD_TOKEN, |world| {
            let mut resume = position(world).await;
            *resume.last_mut().unwrap() ^= 1;
            world.owner.hello(v1::Hello { resume: Some(resume), ..hello() }).await
        }),
        attack!("a resume position of another node", Node, BAD_TOKEN, |world| {
            let resume = position(world).await;
            resumes(world, resume).await
        }),
        attack!("a resume position of another node in a pull", Node, BAD_TOKEN, |world| {
            let resume = position(world).await;
            pulls(&world.talker, v1::pull_request::From::Resume(resume)).await
        }),
        attack!("a resume position of 5 KiB", Node, Heard::Refused(TooLarge), |world| {
            resumes(world, vec![7; 5 * 1024]).await
        }),
    ]
}

/// A position as the hub gives it at the end of a page, to a node that reads more than one; it is leased.
async fn position(world: &World) -> Vec<u8> {
    let start = v1::pull_request::From::Start(v1::Start {});
    let node = &world.owner;
    let pages = node.sync().pull(node.by(v1::PullRequest { from: Some(start) })).await;
    let mut pages = pages.unwrap().into_inner();
    let page = pages.message().await.unwrap().unwrap();
    while pages.message().await.unwrap().is_some() {}
    world.settle().await;
    match page.changes.unwrap().next.unwrap() {
        v1::changes::Next::Resume(resume) => resume,
        v1::changes::Next::Cut(_) => panic!("the log is too short for a second page"),
    }
}
