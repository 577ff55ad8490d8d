//! Keys of the page.

use super::ConvertError;
use crate::v1;
use windrow_model::{PageRole, PageToken};

impl TryFrom<v1::PageRole> for PageRole {
    type Error = ConvertError;
    fn try_from(role: v1::PageRole) -> Result<PageRole, ConvertError> {
        match role {
            v1::PageRole::View => Ok(PageRole::View),
            v1::PageRole::Steer => Ok(PageRole::Steer),
            v1::PageRole::Unspecified => Err(ConvertError::Missing("role")),
        }
    }
}

impl From<PageRole> for v1::PageRole {
    fn from(role: PageRole) -> v1::PageRole {
        match role {
            PageRole::View => v1::PageRole::View,
            PageRole::Steer => v1::PageRole::Steer,
        }
    }
}

impl TryFrom<v1::PageToken> for PageToken {
    type Error = ConvertError;
    fn try_from(token: v1::PageToken) -> Result<PageToken, ConvertError> {
        let role = token.role().try_into()?;
        let v1::PageToken { id, name, expires_unix_ms, .. } = token;
        Ok(PageToken { id, role, name, expires_unix_ms })
    }
}

impl From<PageToken> for v1::PageToken {
    fn from(token: PageToken) -> v1::PageToken {
        let PageToken { id, role, name, expires_unix_ms } = token;
        v1::PageToken { id, role: v1::PageRole::from(role).into(), name, expires_unix_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_survives_the_wire_and_needs_a_role() {
        for role in [PageRole::View, PageRole::Steer] {
            let token = PageToken { id: "token-1".into(), role, name: "n".into(), expires_unix_ms: 7 };
            let sent = v1::PageToken::from(token.clone());
            assert_eq!(PageToken::try_from(sent.clone()), Ok(token));
            assert!(PageToken::try_from(v1::PageToken { role: 9, ..sent }).is_err());
        }
    }
}
