//! Alerts, as clients see them.

use super::v1;
use crate::topic::frame::AlertBody;

impl From<AlertBody> for v1::AlertNotice {
    fn from(body: AlertBody) -> Self {
        let at = body.located.map(v1::DevicePosition::from).unwrap_or_default();
        Self {
            alert_id: body.alert,
            number: body.number,
            event: body.event as i32,
            time_ms: body.time_ms,
            device_id: body.device,
            nickname: body.nickname,
            opened_ms: body.opened_ms,
            presses: body.presses,
            position: at.position,
            position_by_press: body.located_by_press,
            battery_percent: at.battery_percent,
            text: body.text,
            by_id: body.by,
            by_name: body.by_name,
            remark: body.remark,
            holder_id: body.holder,
            holder_name: body.holder_name,
            over: body.over,
            group_id: body.room,
        }
    }
}
