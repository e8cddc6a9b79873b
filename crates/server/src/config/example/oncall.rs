//! How people are told, and who is on call.

use super::{Key, Section};

const GROUP_BY: Key = Key {
    name: "group_by",
    value: "[\"provider\", \"app\"]",
    about: "Alerts with the same labels of these names are told of together; [] is all of the route. Without it each\n\
            alert is told of by itself.",
};
const GROUP_WAIT: Key = Key {
    name: "group_wait",
    value: "\"30s\"",
    about: "How long the first notice of a group of warnings waits for others. Pages go out at once.",
};
const GROUP_INTERVAL: Key = Key {
    name: "group_interval",
    value: "\"5m\"",
    about: "How long more warnings of a group wait after a notice.",
};
const REPEAT: Key = Key {
    name: "repeat",
    value: "\"30m\"",
    about: "A page that nobody acknowledges is told again after this; 0s: never.",
};
const REPEAT_WARNINGS: Key =
    Key { name: "repeat_warnings", value: "\"0s\"", about: "The same for warnings; 0s: never." };
const TO: Key = Key {
    name: "to",
    value: "[\"policy:primary\"]",
    about: "Who is told: the [[oncall.policy]] of that name, or receivers ([\"receiver:on-call\"]); [] is nobody. Without\n\
            it: every receiver, from its least severity on.",
};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[alerts]",
        about: "How people are told of alerts that fit no route.",
        keys: &[
            GROUP_BY,
            GROUP_WAIT,
            GROUP_INTERVAL,
            REPEAT,
            REPEAT_WARNINGS,
            TO,
            Key {
                name: "inhibit_by_default",
                value: "true",
                about: "A provider or upstream in trouble keeps quiet the service levels behind it, a store that is down\n\
                        everything that needs it.",
            },
        ],
    },
    Section {
        head: "[[alerts.route]]",
        about: "Alerts that go to others, or otherwise. The first route that fits is taken.",
        keys: &[
            Key { name: "name", value: "\"payments\"", about: "How the console calls it." },
            Key {
                name: "match",
                value: "[\"owner=payments\", \"severity=page\"]",
                about: "Labels that all have to fit: label=value or label!=value, * for any text, | between values.",
            },
            Key { name: "continue", value: "false", about: "Whether the routes after it are looked at too." },
            GROUP_BY,
            GROUP_WAIT,
            GROUP_INTERVAL,
            REPEAT,
            REPEAT_WARNINGS,
            TO,
        ],
    },
    Section {
        head: "[[alerts.inhibit]]",
        about: "While an alert that fits source is open, nobody is told of those that fit target.",
        keys: &[
            Key { name: "source", value: "[\"component=dify:redis\"]", about: "What explains." },
            Key { name: "target", value: "[\"group=slo\"]", about: "What is explained." },
            Key { name: "equal", value: "[]", about: "Labels that both must have with the same value." },
        ],
    },
    Section {
        head: "[[oncall.person]]",
        about: "Who can be on call.",
        keys: &[
            Key { name: "name", value: "\"ana\"", about: "How schedules and policies call them." },
            Key {
                name: "receivers",
                value: "[\"on-call\"]",
                about: "By which [[receiver]] they are reached.",
            },
        ],
    },
    Section {
        head: "[[oncall.schedule]]",
        about: "Who is on call when. Overrides are made at run time: mainstay oncall override.",
        keys: &[
            Key { name: "name", value: "\"weekdays\"", about: "How policies call it." },
            Key { name: "time_zone", value: "\"UTC\"", about: "As Europe/Berlin." },
        ],
    },
    Section {
        head: "[[oncall.schedule.layer]]",
        about: "People who take turns. Where two layers have somebody, the later one counts.",
        keys: &[
            Key { name: "people", value: "[\"ana\"]", about: "In order of their turns." },
            Key {
                name: "start",
                value: "\"2026-11-23T09:00\"",
                about: "When the first turn begins, on the clock of the time zone; also the hour of the handover.",
            },
            Key { name: "turn", value: "\"weekly\"", about: "daily, weekly, 14d (days) or 12h (hours)." },
            Key { name: "hours", value: "\"mon-fri 09:00-17:00\"", about: "Only then. Without it: always." },
        ],
    },
    Section {
        head: "[[oncall.policy]]",
        about: "Who is told first, and who when nobody acknowledges a page.",
        keys: &[
            Key { name: "name", value: "\"primary\"", about: "How routes call it." },
            Key { name: "repeats", value: "0", about: "How often it begins anew after the last step." },
        ],
    },
    Section {
        head: "[[oncall.policy.step]]",
        about: "One step. Warnings take the first only.",
        keys: &[
            Key {
                name: "to",
                value: "[\"receiver:on-call\", \"person:ana\", \"schedule:weekdays\"]",
                about: "Who is told.",
            },
            Key {
                name: "wait",
                value: "\"15m\"",
                about: "How long they have to acknowledge a page before the next step.",
            },
        ],
    },
];
