//! A replica in a damaged file that begins anew.

use super::*;

/// Does to the closed file what only a damaged disk does.
async fn damage(scratch: &Scratch, sql: &'static str) {
    let pool = sqlite(scratch).await;
    let rows = sqlx::query(sql).execute(&pool).await.unwrap().rows_affected();
    assert_eq!(rows, 1, "{sql}");
    pool.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_replaced_by_what_is_fetched_anew() {
    for sql in [
        "update confirmed set record = x'ff'",
        "update confirmed set record = x''",
        "update confirmed set digest = x'00'",
        "update confirmed set revision = -1",
        "update confirmed set key = x'80'",
    ] {
        let (scratch, mut hub) = (Scratch::new(), Hub::default());
        confirmed_note(&scratch, &mut hub).await;
        damage(&scratch, sql).await;
        let (store, replica) = replica(&scratch.file()).await;
        let error = replica.examine().await.unwrap_err();
        assert_eq!(error.refusal().reason, Reason::StoreCorrupt, "{sql}: {error}");
        let before = replica.changes_end().await.unwrap();
        replica.rebootstrap().await.unwrap();
        pull(&replica, &hub).await;
        assert_eq!(body(&replica, "note", "n").await, Some(json!({"text": "find me"})), "{sql}");
        let told = replica.changes_after(before, 10).await.unwrap();
        assert_eq!(
            told.into_iter().map(|change| change.key).collect::<Vec<_>>(),
            [key("note", "n")],
            "{sql}"
        );
        assert_eq!(replica.examine().await.unwrap().damage(), None, "{sql}");
        store.close().await;
    }
}
