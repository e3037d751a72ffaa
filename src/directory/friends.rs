//! Friends.

use super::group_app::{FOUND_MAX, text};
use super::group_desk::id;
use super::login::Desk;
use super::store_failed;
use crate::model::{FriendState, Reason, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;

/// The most friends of a page.
const PAGE_MAX: u32 = 1_000;
/// The shortest text to look for people, in characters: shorter ones find everybody.
const KEY_CHARACTERS_MIN: usize = 2;

impl Desk {
    pub(super) async fn add_friend(&self, request: v1::AddFriendRequest) -> Result<v1::AddFriendResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let other = UserId(id(request.user_id, "user_id")?);
        let friends = caller.store.add_friend(caller.account.id, other, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::AddFriendResponse { friends })
    }

    pub(super) async fn del_friend(&self, request: v1::DelFriendRequest) -> Result<v1::DelFriendResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let other = UserId(id(request.user_id, "user_id")?);
        caller.store.remove_friend(caller.account.id, other, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::DelFriendResponse {})
    }

    /// Only friends show whether they are there.
    pub(super) async fn get_friend_list(&self, request: v1::GetFriendListRequest) -> Result<v1::GetFriendListResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let limit = match request.limit {
            0 => PAGE_MAX,
            limit if limit > PAGE_MAX => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        let after = UserId(request.after_user_id);
        let mut friends = caller.store.friends_of(caller.account.id, after, limit + 1).await.map_err(store_failed)?;
        let more = friends.len() > limit as usize;
        friends.truncate(limit as usize);
        let mutual = friends.iter().filter(|friend| friend.state == FriendState::Friends).map(|friend| friend.id).collect();
        let whereabouts = self.whereabouts(&mutual, false).await?;
        let friends = friends.into_iter().map(|friend| v1::Friend {
            user_id: friend.id.0,
            name: friend.name,
            nickname: friend.nickname,
            state: v1::FriendState::from(friend.state).into(),
            presence: match friend.state {
                FriendState::Friends => whereabouts.of(friend.id, None).into(),
                FriendState::Asked | FriendState::Asks => v1::PresenceState::Unspecified.into(),
            },
        });
        Ok(v1::GetFriendListResponse { friends: friends.collect(), more })
    }

    pub(super) async fn search_user_by_key(&self, request: v1::SearchUserByKeyRequest) -> Result<v1::SearchUserByKeyResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let text = text(&request.text, KEY_CHARACTERS_MIN)?;
        let found = caller.store.search_users(caller.account.id, text, FOUND_MAX).await.map_err(store_failed)?;
        let users = found.into_iter().map(|found| v1::FoundUser {
            user_id: found.id.0,
            name: found.name,
            nickname: found.nickname,
            kind: v1::UserKind::from(found.kind).into(),
            state: found.state.map_or(v1::FriendState::Unspecified, v1::FriendState::from).into(),
        });
        Ok(v1::SearchUserByKeyResponse { users: users.collect() })
    }
}
