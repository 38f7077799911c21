use super::*;

fn name(text: &str) -> AllowedName {
    text.parse().expect(text)
}

fn allow(names: &[&str]) -> EffectivePolicy {
    EffectivePolicy::Allowlist { names: names.iter().map(|text| name(text)).collect() }
}

#[test]
fn names_are_checked_and_normalized() {
    for (text, expected) in [
        ("example.com", Some("example.com")),
        ("Example.COM", Some("example.com")),
        ("*.example.com", Some("*.example.com")),
        ("bücher.example", Some("xn--bcher-kva.example")),
        ("XN--BCHER-KVA.example", Some("xn--bcher-kva.example")),
        ("r3---sn-x.example.com", Some("r3---sn-x.example.com")),
        ("*", None),
        ("*.com", None),
        ("com", None),
        ("localhost", None),
        ("*.*.com", None),
        ("foo.**.x", None),
        ("foo.*.example.com", None),
        ("f*.example.com", None),
        ("**.example.com", None),
        ("", None),
        (".", None),
        ("*.", None),
        (".example.com", None),
        ("example..com", None),
        ("*..example.com", None),
        ("1.2.3.4", None),
        ("*.2.3.4", None),
        ("0x7f.1", None),
        ("example.0x10", None),
        ("::1", None),
        ("[::1]", None),
        ("example.com:443", None),
        ("https://example.com", None),
        ("exa mple.com", None),
        ("exam_ple.com", None),
        ("xn--\u{0}.com", None),
    ] {
        let parsed = text.parse::<AllowedName>();
        assert_eq!(
            parsed.as_ref().ok().map(ToString::to_string).as_deref(),
            expected,
            "{text:?}: {parsed:?}"
        );
    }
    assert!(format!("{}.com", "a".repeat(64)).parse::<AllowedName>().is_err(), "a label of 64");
    assert!("a.".repeat(127).parse::<AllowedName>().is_err(), "254 characters");
}

#[test]
fn wildcards_cover_one_label() {
    for (pattern, host, expected) in [
        ("example.com", "example.com", true),
        ("example.com", "EXAMPLE.com.", true),
        ("example.com", "www.example.com", false),
        ("example.com", "badexample.com", false),
        ("example.com", "example.com.evil.org", false),
        ("*.example.com", "www.example.com", true),
        ("*.example.com", "WWW.Example.com.", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.example.com", "a.b.example.com", false),
        ("*.example.com", "www.badexample.com", false),
    ] {
        assert_eq!(name(pattern).covers(host), expected, "{pattern} {host}");
    }
}

#[test]
fn presets_hold_valid_names() {
    for preset in NetworkPreset::ALL {
        assert!(preset.names().count() >= 10, "{preset}");
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(deserialize_with = "EffectivePolicy::deserialize_or_none")]
    policy: EffectivePolicy,
}

#[test]
fn damaged_policy_allows_nothing() {
    for stored in [
        serde_json::json!(null),
        serde_json::json!({"mode": "wide"}),
        serde_json::json!({"mode": "open", "names": ["example.com"]}),
        serde_json::json!({"mode": "allowlist", "names": ["*.com"]}),
        serde_json::json!({"mode": "allowlist", "presets": ["everything"]}),
    ] {
        assert_eq!(NetworkPolicy::from_stored(stored.clone()).mode, NetworkMode::None, "{stored}");
    }
    for text in [r#"{"policy": {"mode": "allowlist", "names": ["*"]}}"#, r#"{"policy": 7}"#] {
        let message: Message = serde_json::from_str(text).expect("a message");
        assert_eq!(message.policy, EffectivePolicy::None, "{text}");
    }
}

#[test]
fn policy_survives_the_wire() {
    for policy in [EffectivePolicy::Open, EffectivePolicy::None, allow(&["*.example.com", "pypi.org"])] {
        let text = serde_json::to_string(&policy).expect("written");
        assert_eq!(serde_json::from_str::<EffectivePolicy>(&text).expect("read"), policy);
    }
}

#[test]
fn combined_policy_allows_the_intersection() {
    assert_eq!(EffectivePolicy::Open.combine(allow(&["a.com"])), allow(&["a.com"]));
    assert_eq!(allow(&["a.com", "b.com"]).combine(allow(&["b.com", "c.com"])), allow(&["b.com"]));
    assert_eq!(allow(&["*.a.com"]).combine(allow(&["x.a.com", "y.x.a.com"])), allow(&["x.a.com"]));
    assert_eq!(allow(&["*.a.com"]).combine(allow(&["*.b.com"])), allow(&[]));
    assert_eq!(allow(&["a.com"]).combine(EffectivePolicy::None), EffectivePolicy::None);
}

/// For random policies: a host is allowed by the combination exactly if it is allowed by both, in
/// either order.
#[test]
fn combine_never_widens() {
    let seed = std::env::var("BURROW_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("BURROW_SEED={seed}");
    let mut state = seed | 1;
    let mut below = move |bound: u64| {
        // xorshift: enough to pick from small sets.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let label = |number: u64| ["a", "b", "c", "xn--bcher-kva"][usize::try_from(number).expect("small")];
    for _ in 0..2000 {
        let mut policy = || match below(8) {
            0 => EffectivePolicy::Open,
            1 => EffectivePolicy::None,
            _ => {
                let names = (0..below(6)).map(|_| {
                    let first = if below(2) == 0 { "*" } else { label(below(4)) };
                    let middle = if below(2) == 0 { format!("{}.", label(below(4))) } else { String::new() };
                    name(&format!("{first}.{middle}{}.example", label(below(4))))
                });
                EffectivePolicy::Allowlist { names: names.collect() }
            }
        };
        let (left, right) = (policy(), policy());
        let both = left.clone().combine(right.clone());
        assert_eq!(both, right.clone().combine(left.clone()), "order: {left:?} {right:?}");
        assert_eq!(left.clone().combine(left.clone()), left, "itself");
        for first in 0..4 {
            for second in 0..4 {
                for host in [
                    format!("{}.{}.example", label(first), label(second)),
                    format!("{}.{}.a.example", label(first), label(second)),
                    format!("z.{}.{}.example", label(first), label(second)),
                ] {
                    assert_eq!(
                        both.allows(&host),
                        left.allows(&host) && right.allows(&host),
                        "{host}: {left:?} {right:?}"
                    );
                }
            }
        }
    }
}
