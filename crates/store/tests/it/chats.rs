//! Conversations and messages as Dify lists them.

use std::time::Duration;

use mainstay_base::id;
use mainstay_store::{
    MAX_FILE_BYTES, StoreError,
    model::{
        ChatResult, Conversation, ConversationSort, EndUser, Finish, Message, MessageStatus, NewFile, Rating,
        RunResult, RunStatus,
    },
};
use serde_json::json;

use crate::fixture::{Fixture, LEASE, START, new_job, on_each, result};

fn conversation(end_user: &EndUser) -> Conversation {
    Conversation {
        id: id::new(),
        app_id: end_user.app_id.clone(),
        end_user_id: end_user.id.clone(),
        name: "New conversation".to_owned(),
        inputs: json!({}),
        introduction: String::new(),
        variables: json!({"mood": "good"}),
        dialogue_count: 0,
        created_at: START,
        updated_at: START,
    }
}

fn message(conversation: &Conversation, query: &str) -> Message {
    Message {
        id: id::new(),
        conversation_id: conversation.id.clone(),
        app_id: conversation.app_id.clone(),
        end_user_id: conversation.end_user_id.clone(),
        parent_message_id: None,
        run_id: None,
        inputs: json!({}),
        query: query.to_owned(),
        answer: format!("Echo: {query}"),
        status: MessageStatus::Normal,
        error: None,
        metadata: json!({"usage": {"total_tokens": 3}}),
        files: json!([]),
        feedback: None,
        created_at: START,
    }
}

async fn somebody(fixture: &Fixture) -> EndUser {
    fixture.store.chats().end_user("app-1", "tester-1").await.unwrap()
}

#[tokio::test]
async fn a_user_of_an_app_is_one_end_user() {
    on_each(|fixture| async move {
        let chats = fixture.store.chats();
        let one = chats.end_user("app-1", "ann").await.unwrap();
        assert_eq!(chats.end_user("app-1", "ann").await.unwrap(), one);
        assert_ne!(chats.end_user("app-2", "ann").await.unwrap().id, one.id);
        let (first, second) = tokio::join!(chats.end_user("app-1", "ben"), chats.end_user("app-1", "ben"));
        assert_eq!(first.unwrap(), second.unwrap());
    })
    .await;
}

#[tokio::test]
async fn messages_are_paged_backwards_and_listed_forwards() {
    on_each(|fixture| async move {
        let chats = fixture.store.chats();
        let chat = conversation(&somebody(&fixture).await);
        chats.upsert(chat.clone()).await.unwrap();
        let sent: Vec<Message> = (0..5).map(|number| message(&chat, &number.to_string())).collect();
        for message in &sent {
            chats.insert_message(message.clone()).await.unwrap();
        }
        let page = chats.messages(&chat.id, None, 2).await.unwrap();
        assert_eq!((page.rows.as_slice(), page.has_more), (&sent[3..5], true));
        let page = chats.messages(&chat.id, Some(&sent[3].id), 3).await.unwrap();
        assert_eq!((page.rows.as_slice(), page.has_more), (&sent[0..3], false));
        assert_eq!(chats.history(&chat.id, 3).await.unwrap(), sent[2..5]);
        assert_eq!(chats.message(&sent[1].id).await.unwrap().as_ref(), Some(&sent[1]));
    })
    .await;
}

#[tokio::test]
async fn conversations_are_sorted_and_paged_even_when_they_are_of_one_moment() {
    on_each(|fixture| async move {
        let chats = fixture.store.chats();
        let user = somebody(&fixture).await;
        let mut made = Vec::new();
        for number in 0..5u64 {
            // Two pairs share their moment.
            let updated_at = START + Duration::from_secs(number / 2);
            let chat = Conversation { updated_at, created_at: updated_at, ..conversation(&user) };
            chats.upsert(chat.clone()).await.unwrap();
            made.push(chat.id);
        }
        for (sort, newest_first) in [
            (ConversationSort::UpdatedDesc, true),
            (ConversationSort::UpdatedAsc, false),
            (ConversationSort::CreatedDesc, true),
            (ConversationSort::CreatedAsc, false),
        ] {
            let mut seen: Vec<String> = Vec::new();
            loop {
                let last = seen.last().cloned();
                let page = chats.list(&user.id, last.as_deref(), 2, sort).await.unwrap();
                seen.extend(page.rows.into_iter().map(|chat| chat.id));
                if !page.has_more {
                    break;
                }
            }
            let mut expected = made.clone();
            if newest_first {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{sort:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn feedback_is_set_changed_and_taken_back_by_its_end_user_only() {
    on_each(|fixture| async move {
        let chats = fixture.store.chats();
        let user = somebody(&fixture).await;
        let chat = conversation(&user);
        chats.upsert(chat.clone()).await.unwrap();
        let message = message(&chat, "hello");
        chats.insert_message(message.clone()).await.unwrap();
        let rate = async |who: &str, rating: Option<Rating>| {
            chats.feedback(&message.id, who, rating, Some("why")).await.unwrap()
        };
        let seen = async || chats.message(&message.id).await.unwrap().unwrap().feedback;
        assert!(!rate("somebody-else", Some(Rating::Like)).await);
        assert!(rate(&user.id, Some(Rating::Like)).await);
        assert_eq!(seen().await, Some(Rating::Like));
        assert!(rate(&user.id, Some(Rating::Dislike)).await);
        assert_eq!(seen().await, Some(Rating::Dislike));
        let all = chats.feedbacks("app-1", 1, 9).await.unwrap();
        assert_eq!((all.len(), all[0].rating, all[0].content.as_deref()), (1, Rating::Dislike, Some("why")));
        assert!(rate(&user.id, None).await);
        assert_eq!(seen().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_conversation_is_renamed_and_goes_with_its_messages() {
    on_each(|fixture| async move {
        let chats = fixture.store.chats();
        let chat = conversation(&somebody(&fixture).await);
        chats.upsert(chat.clone()).await.unwrap();
        let message = message(&chat, "hello");
        chats.insert_message(message.clone()).await.unwrap();
        assert!(chats.rename(&chat.id, "Orders").await.unwrap());
        assert_eq!(chats.conversation(&chat.id).await.unwrap().unwrap().name, "Orders");
        assert!(chats.delete(&chat.id).await.unwrap());
        assert!(!chats.delete(&chat.id).await.unwrap());
        assert_eq!(chats.message(&message.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_durable_chat_leaves_its_message_only_if_its_result_is_accepted() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let chat = conversation(&somebody(&fixture).await);
        let job = new_job();
        let run_id = job.run.id.clone();
        store.jobs().submit(job).await.unwrap();
        let claimed = store.jobs().claim("worker-1", 1, LEASE).await.unwrap().remove(0);
        let said = Message { run_id: Some(run_id.clone()), ..message(&chat, "hello") };
        let left = ChatResult { conversation: chat.clone(), message: said.clone() };
        let done = RunResult { chat: Some(Box::new(left)), ..result(RunStatus::Succeeded) };
        let finish = Finish::Done(done);
        store.jobs().finish(&run_id, claimed.epoch - 1, finish.clone()).await.unwrap();
        assert_eq!(store.chats().conversation(&chat.id).await.unwrap(), None, "fenced off");
        store.jobs().finish(&run_id, claimed.epoch, finish).await.unwrap();
        assert_eq!(store.chats().conversation(&chat.id).await.unwrap(), Some(chat));
        assert_eq!(store.chats().message_of_run(&run_id).await.unwrap(), Some(said));
    })
    .await;
}

#[tokio::test]
async fn a_file_keeps_its_bytes_up_to_the_limit() {
    on_each(|fixture| async move {
        let files = fixture.store.files();
        let file = |content: Vec<u8>| NewFile {
            id: id::new(),
            app_id: "app-1".to_owned(),
            end_user_id: "user".to_owned(),
            name: "photo.png".to_owned(),
            extension: "png".to_owned(),
            mime_type: "image/png".to_owned(),
            content,
        };
        let stored = files.insert(file(vec![0, 255, 7])).await.unwrap();
        assert_eq!(stored.size, 3);
        assert_eq!(files.get(&stored.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(files.content(&stored.id).await.unwrap(), Some(vec![0, 255, 7]));
        assert_eq!(files.content("nothing").await.unwrap(), None);
        let refused = files.insert(file(vec![0; MAX_FILE_BYTES + 1])).await;
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    })
    .await;
}
