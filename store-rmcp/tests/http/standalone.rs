//! The stream of a GET without `Last-Event-ID`.

use crate::support::{Client, Place, Server, briefs};

const CHANGED: &str = "notifications/tools/list_changed";

on_every_store!(
    c03_the_standalone_stream_keeps_what_was_sent_before_its_first_get,
    c03_the_standalone_stream_resumes_where_it_broke_off,
    a_second_get_takes_the_standalone_stream_over,
);

async fn c03_the_standalone_stream_keeps_what_was_sent_before_its_first_get(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    client.call(1, "announce", 2).await.rest().await;
    let mut sse = client.listen().await;
    let events = sse.take(3).await;
    assert_eq!(briefs(&events), ["-", CHANGED, CHANGED]);
    assert_eq!(events[0].retry, Some(3000));
    client.call(2, "announce", 1).await.rest().await;
    assert_eq!(briefs(&sse.take(1).await), [CHANGED]);
}

async fn c03_the_standalone_stream_resumes_where_it_broke_off(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut sse = client.listen().await;
    let priming = sse.take(1).await.remove(0);
    drop(sse);
    client.call(1, "announce", 3).await.rest().await;
    let mut resumed = client.resume(priming.id()).await;
    let events = resumed.take(4).await;
    assert_eq!(briefs(&events), ["-", CHANGED, CHANGED, CHANGED]);
    drop(resumed);
    client.call(2, "announce", 1).await.rest().await;
    let mut again = client.resume(events[2].id()).await;
    let rest = again.take(3).await;
    assert_eq!(rest[1], events[3]);
    assert_eq!(briefs(&rest), ["-", CHANGED, CHANGED]);
}

async fn a_second_get_takes_the_standalone_stream_over(place: Place) {
    let server = Server::start(&place.open().await).await;
    let client = Client::connect(&server).await;
    let mut first = client.listen().await;
    first.take(1).await;
    let mut second = client.listen().await;
    second.take(1).await;
    assert_eq!(first.next().await, None);
    client.call(1, "announce", 1).await.rest().await;
    assert_eq!(briefs(&second.take(1).await), [CHANGED]);
}
