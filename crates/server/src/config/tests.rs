//! The model gateway's sections as a table: what is written, and what is said of it.

use std::time::Duration;

use mainstay_base::{
    Usd,
    snapshot::{
        CacheSystem, Dialect, Hedge, OnCut, OnStoreGone, Price, ProviderSecret, SingleFlight, Strategy,
    },
};

use mainstay_control::ProbeKind;

use super::{Config, Follow, LoadError, Problem, StorePlace, parse, salvage_store};

const ONE: &str = "[[provider]]\nname = 'one'\nbase_url = 'http://one/v1'\nmodels = ['chat']\n";

fn read(text: &str) -> Config {
    parse("test", text, &[], Follow::FormOnly).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|Problem { path, message }| format!("{path} {message}")).collect()
}

/// What is refused, after the provider `one`.
fn refused(text: &str, expected: &[&str]) {
    match parse("test", &format!("{ONE}{text}"), &[], Follow::FormOnly) {
        Err(LoadError::Problems(problems)) => assert_eq!(lines(&problems), expected, "{text}"),
        other => panic!("{other:?}\n{text}"),
    }
}

/// What is taken with a warning, after the provider `one`.
fn warned(text: &str, expected: &[&str]) {
    assert_eq!(lines(&read(&format!("{ONE}{text}")).warnings), expected, "{text}");
}

#[test]
fn each_dialect_has_its_keys_and_its_address() {
    let config = read(
        "[[provider]]\nname='a'\ndialect='anthropic'\nkey='env:A'\n\
         [[provider]]\nname='g'\ndialect='gemini'\n\
         [[provider]]\nname='c'\ndialect='cohere'\n\
         [[provider]]\nname='z'\ndialect='azure'\nbase_url='https://z.openai.azure.com/'\napi_version='2024-10-21'\n\
         [[provider]]\nname='b'\ndialect='bedrock'\nregion='eu-central-1'\naccess_key_id='env:ID'\n\
         secret_access_key='env:S'\nsession_token='env:T'\n",
    );
    let addresses: Vec<&str> = config.providers.iter().map(|provider| provider.base_url.as_str()).collect();
    assert_eq!(
        addresses,
        [
            "https://api.anthropic.com/v1",
            "https://generativelanguage.googleapis.com/v1beta",
            "https://api.cohere.com/v2",
            "https://z.openai.azure.com",
            "https://bedrock-runtime.eu-central-1.amazonaws.com",
        ]
    );
    assert_eq!(config.providers[3].dialect, Dialect::Azure { api_version: "2024-10-21".to_owned() });
    let ProviderSecret::Aws { access_key_id, session_token, .. } = &config.providers[4].keys[0].secret else {
        panic!("{:?}", config.providers[4])
    };
    assert_eq!((access_key_id.as_str(), session_token.is_some()), ("env:ID", true));
}

#[test]
fn several_keys_have_names() {
    let config = read(&format!(
        "{ONE}first_token_timeout='7s'\n[[provider.key]]\nname='x'\nkey='env:X'\n[[provider.key]]\nname='y'\nkey='env:Y'\n"
    ));
    let provider = &config.providers[0];
    let names: Vec<&str> = provider.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!((names, provider.first_token), (vec!["x", "y"], Duration::from_secs(7)));
}

#[test]
fn a_chain_knows_what_was_said_of_its_models() {
    let config = read(&format!(
        "{ONE}[[provider.model]]\nname='big'\ncontext_tokens=1000\nmax_output_tokens=100\ntools=false\nregion='eu'\n\
         data_classes=['internal']\nprice_input=2.5\nprice_output=10\nprice_cached_input=1.25\nconcurrency=3\n\
         requests_a_minute=60\ntokens_a_minute=9000\ndrop_fields=['logit_bias']\nmax_tokens_field='max_completion_tokens'\n\
         cache_system=true\n\
         [[model.key]]\nname='dify'\nkey='env:D'\n\
         [[model.route]]\nmodel='fast'\nstrategy='weighted'\ntargets=['one/chat']\n\
         [[model.route.target]]\nprovider='one'\nmodel='big'\npriority=2\nweight=7\nwhen.keys=['dify']\nwhen.max_input_tokens=50\n\
         [model.route.policy]\ndeadline='60s'\nhedge.enabled=true\nretry.same_target=0\n\
         [model.policy]\non_cut='continue'\nsingle_flight='off'\nmax_attempts=2\n"
    ));
    let route = &config.model.routes[0];
    assert_eq!((route.name.as_str(), route.strategy, route.targets.len()), ("fast", Strategy::Weighted, 2));
    let big = &route.targets[1];
    assert_eq!((big.priority, big.weight, big.when.keys.len()), (2, 7, 1));
    assert_eq!((big.offer.context_tokens, big.offer.tools, big.offer.vision), (Some(1000), false, true));
    assert_eq!((big.limits.concurrency, big.limits.tokens_a_minute), (Some(3), Some(9000)));
    assert_eq!((big.adapt.cache_system, big.adapt.drop_fields.len()), (CacheSystem::On, 1));
    let price = Price { input: Usd(2_500_000), output: Usd(10_000_000), cached_input: Some(Usd(1_250_000)) };
    assert_eq!(big.price, Some(price));
    // A route's policy is that of all routes with its own words over it.
    let policy = &route.policy;
    assert_eq!(
        (policy.on_cut, policy.single_flight, policy.max_attempts),
        (OnCut::Continue, SingleFlight::Off, 2)
    );
    assert_eq!((policy.deadline, policy.answer_within), (Duration::from_secs(60), Duration::from_secs(60)));
    assert_eq!((policy.hedge, policy.retry.same_target), (Some(Hedge::default()), 0));
    assert_eq!(config.model.policy.hedge, None);
    assert_eq!(config.model.routes[1].name, "chat", "what a provider lists is a route of its own");
    assert_eq!(config.model.routes[1].policy, config.model.policy);
}

#[test]
fn a_virtual_key_has_what_it_may_and_spends() {
    let config = read(&format!(
        "{ONE}[[model.key]]\nname='dify'\nkey='env:D'\ntenant='acme'\napp='support'\nmodels=['chat']\nregion='eu'\n\
         requests_a_minute=5\nbudget=12.5\nbudget_window='30d'\nbudget_when_store_gone='closed'\n"
    ));
    let key = &config.model.keys[0].caller;
    assert_eq!((key.tenant.as_str(), key.requests_a_minute), ("acme", Some(5)));
    let budget = key.budget.unwrap();
    assert_eq!((budget.limit, budget.when_store_gone), (Usd(12_500_000), OnStoreGone::Closed));
    assert_eq!(budget.window, Duration::from_secs(30 * 86_400));
}

#[test]
fn what_is_wrong_is_refused_with_its_key() {
    refused(
        "[[provider]]\nname='z'\ndialect='azure'\nregion='x'\n[[provider]]\nname='q'\ndialect='klingon'\n",
        &[
            "provider[1].api_version is missing: dialect azure needs it",
            "provider[1].region belongs to dialect bedrock",
            "provider[2].dialect is none of openai, azure, anthropic, gemini, bedrock, cohere",
        ],
    );
    refused("[[provider]]\nname='x'\n", &["provider[1].base_url is missing"]);
    refused(
        "[[provider]]\nname='b'\ndialect='bedrock'\nregion='eu/../x'\naccess_key_id='env:A'\n",
        &[
            "provider[1].region may hold letters, digits, - . and _ only",
            "provider[1].secret_access_key is missing",
        ],
    );
    refused(
        "[[provider.key]]\nname='a'\nkey='env:K'\n[[provider.key]]\nname='b'\nkey='env:K'\n[[provider.key]]\nname='a'\nkey='env:L'\n",
        &[
            "provider[0].key[2].name a is also provider[0].key[0].name",
            "provider[0].key a and b are the same key",
        ],
    );
    refused(
        "[[provider.model]]\nname='m'\nprice_input=1\ndrop_fields=['messages']\nmax_tokens_field='tokens'\ncontext_tokens=0\n",
        &[
            "provider[0].model[0].context_tokens is 0, allowed is 1 to 1000000000",
            "provider[0].model[0].drop_fields[0] is messages, which a call needs",
            "provider[0].model[0].max_tokens_field is none of max_tokens, max_completion_tokens",
            "provider[0].model[0].price_output is missing: give both prices (0 where nothing is billed)",
        ],
    );
    refused("[[model.route]]\nmodel='r'\n", &["model.route[0].targets is missing"]);
    refused(
        "[[model.route]]\nmodel='r'\ntargets=['one/chat','one/chat']\n[[model.route.target]]\nprovider='two'\nmodel='x'\nweight=0\n",
        &[
            "model.route[0].targets has one/chat twice",
            "model.route[0].target[0].provider names the provider two, which is not (rightly) declared",
            "model.route[0].target[0].weight is 0, allowed is 1 to 1000",
        ],
    );
    refused(
        "[model.policy]\ndeadline='10s'\nanswer_within='20s'\nmax_attempts=0\nretry.ratio=2\nretry.base='9s'\n\
         hedge.after_quantile=1.0\npre_commit.max_wait='1h'\non_cut='stop'\ndrain.max_wait='1d'\nretry.cup='1s'\n",
        &[
            "model.policy.answer_within is longer than deadline",
            "model.policy.max_attempts is 0, allowed is 1 to 32",
            "model.policy.retry.ratio is 2, allowed is 0 to 1",
            "model.policy.retry.cap is shorter than retry.base",
            "model.policy.retry.cup is not a key; did you mean cap?",
            "model.policy.hedge.after_quantile is 1, allowed is 0.5 to 0.999",
            "model.policy.pre_commit.max_wait is 1h, allowed is 10ms to 10m",
            "model.policy.on_cut is none of end, continue",
            "model.policy.drain.max_wait is 1d, allowed is 0s to 10m",
        ],
    );
    refused(
        "[model.breaker]\nopen_for='5s'\nmax_open='1s'\nfailure_share=0\n[model.ejection]\nmax_share=1.5\n",
        &[
            "model.breaker.failure_share is 0, allowed is 0.01 to 1",
            "model.breaker.max_open is shorter than open_for",
            "model.ejection.max_share is 1.5, allowed is 0 to 1",
        ],
    );
    refused(
        "[[model.key]]\nname='engine'\nkey='env:E'\n[[model.key]]\nname='b'\nkey='env:E'\nbudget_window='1h'\n",
        &[
            "model.key[0].name engine is the name of the embedded engine's own key",
            "model.key[1].budget_window has no effect: budget is not given",
            "model.key engine and b are the same key",
        ],
    );
}

#[test]
fn what_parts_say_of_each_other_is_checked() {
    refused(
        "[[model.route]]\nmodel='e'\ntargets=['one/text-embedding-3-small','one/text-embedding-3-large']\n",
        &[
            "model.route[0] one/text-embedding-3-small and one/text-embedding-3-large are different embedding models; \
           a chain of embeddings has one model only",
        ],
    );
    refused(
        "[[model.route]]\nmodel='r'\ntargets=['one/chat']\n[model.route.policy]\nmax_cost=0.1\n",
        &["model.route[0] has max_cost, but one/chat has no price: give it price_input and price_output in \
           [[provider.model]] (0 when it is free)"],
    );
    refused(
        "[[model.key]]\nname='k'\nkey='env:K'\nmodels=['chat','gone']\n[[model.route]]\nmodel='r'\n\
         [[model.route.target]]\nprovider='one'\nmodel='chat'\nwhen.keys=['nobody']\n",
        &[
            "model.route[0] when.keys of one/chat names the key nobody, which is not declared",
            "model.key[0].models[1] names the model gone, which no route and no provider has",
        ],
    );
    warned(
        "[[provider]]\nname='free'\nbase_url='http://f/v1'\n[[model.route]]\nmodel='e'\ntargets=['free/text-embedding-3-small','free/deployment']\n",
        &[
            "model.route[0] free/text-embedding-3-small and free/deployment differ in their names, so embeddings are asked of one of them only",
        ],
    );
    warned(
        "[[model.key]]\nname='k'\nkey='env:K'\nbudget=1\n",
        &["model.key[0].budget counts nothing for one/chat, which has no price"],
    );
    warned(
        "[model.policy]\nhedge.ratio=0.2\n",
        &["model.policy.hedge.ratio has no effect: hedge.enabled is false"],
    );
    warned(
        "[[provider]]\nname='free'\nbase_url='http://f/v1'\n[[model.route]]\nmodel='e'\ntargets=['free/vendor/bge-m3','free/bge-m3']\n",
        &[],
    );
    warned(
        "[[provider]]\nname='free'\nbase_url='http://f/v1'\n[[model.route]]\nmodel='e'\ntargets=['free/cohere.embed-v3','free/embed-v3']\n",
        &[
            "model.route[0] free/cohere.embed-v3 and free/embed-v3 differ in their names, so embeddings are asked of one of \
           them only",
        ],
    );
}

#[test]
fn a_broken_file_still_tells_where_its_store_is() {
    let check = |text: &str, url: &str, state_dir: Option<&str>| {
        let StorePlace { url: found, state_dir: folder } = salvage_store(text, &[]);
        assert_eq!((found.expose(), folder.as_deref()), (url, state_dir.map(std::path::Path::new)), "{text}");
    };
    check("[store]\nurl = 'sqlite:a.db'\n[workers]\ncount = 'x'", "sqlite:a.db", None);
    check("[log\n[store]\nurl = 'sqlite:a.db'\nstate_dir = '/s'\n[x", "sqlite:a.db", Some("/s"));
    check("", "sqlite:mainstay.db", None);
    check("[store", "sqlite:mainstay.db", None);
    let variables = [("MAINSTAY__STORE__STATE_DIR".to_owned(), "/e".to_owned())];
    assert_eq!(salvage_store("[[[", &variables).state_dir.as_deref(), Some(std::path::Path::new("/e")));
}

#[test]
fn what_would_fail_at_each_call_is_refused_at_the_start() {
    refused(
        "[[provider]]\nname='bedä'\nbase_url='http://h/v1?a=b'\n[[provider]]\nname=\"q\\n\"\nbase_url=' http://h/v1'\n",
        &[
            "provider[1].name may hold ASCII letters, digits and signs only: it is sent in headers",
            "provider[1].base_url has a query or fragment (?… or #…); give the address alone",
            "provider[2].name begins or ends with a blank",
            "provider[2].name may hold ASCII letters, digits and signs only: it is sent in headers",
            "provider[2].base_url has a blank in it",
        ],
    );
    refused(
        "[[provider]]\nname='z'\ndialect='azure'\nkey='env:Z'\napi_version='2024-10-21'\nbase_url='https://z.openai.azure.com/openai/v1'\n\
         [[provider]]\nname='y'\ndialect='azure'\nkey='env:Y'\napi_version='v1'\nbase_url='https://y.openai.azure.com/openai/deployments/gpt'\n",
        &[
            "provider[1].base_url ends in /openai/v1, which goes with api_version \"v1\" or \"preview\"",
            "provider[2].base_url names a deployment; give the resource, as https://NAME.openai.azure.com",
        ],
    );
    refused(
        "total_timeout='100000000000d'\n[retention]\nruns='100000000000d'\n[workers]\nlease='100ms'\n",
        &[
            "workers.lease is 100ms, allowed is 1s to 1h",
            "provider[0].total_timeout is 100000000000d, allowed is 1ms to 1d",
            "retention.runs is 100000000000d, allowed is 1s to 3650d",
        ],
    );
    refused(
        "[model]\nother_models_to=['one','one']\n[[model.route]]\nmodel=' r'\ntargets=['one/ chat']\n",
        &[
            "model.other_models_to[1] names one twice",
            "model.route[0].model begins or ends with a blank",
            "model.route[0].targets[0] begins or ends with a blank",
        ],
    );
}

#[test]
fn one_secret_has_one_name() {
    let aws = |name| {
        format!("[[provider.key]]\nname='{name}'\naccess_key_id='env:ID'\nsecret_access_key='env:S'\n")
    };
    refused(
        &format!(
            "[[provider]]\nname='b'\ndialect='bedrock'\nregion='cn-north-1'\n{}{}",
            aws("first"),
            aws("second")
        ),
        &["provider[1].key first and second are the same key"],
    );
    refused(
        "[[upstream]]\nname='d'\nbase_url='http://d'\n\
         [[app]]\nname='a'\nupstream='d'\nmode='chat'\nkey='env:K'\n[[app]]\nname='b'\nupstream='d'\nmode='chat'\nkey='env:K'\n\
         [[admin.token]]\nname='x'\ntoken='env:T'\n[[admin.token]]\nname='y'\ntoken='env:T'\n\
         [engine]\nmodel_key='env:M'\n[[model.key]]\nname='m'\nkey='env:M'\n",
        &[
            "engine.model_key is the same key as that of the virtual key m",
            "app[1].key a and b have the same one",
            "admin.token[1].token x and y have the same one",
        ],
    );
}

#[test]
fn a_wrong_type_is_told_with_its_cure() {
    refused(
        "[workers]\ncount='8'\nlease=5\n[records]\nkeep_success=nan\n[log]\nfilter=7\n[receiver]\nname='x'\n",
        &[
            "log.filter is a whole number, not a text; put it in quotes",
            "workers.count is a text, not a whole number; take the quotes away",
            "workers.lease is a whole number, not a time span; write \"5s\" for seconds",
            "receiver is a table, not a list of tables; write its head in double brackets: [[…]]",
            "records.keep_success is NaN, allowed is 0 to 1",
        ],
    );
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    warned(
        "[[provider]]\nname='One'\ndialect='anthropic'\nbase_url='https://api.anthropic.com'\nprobe='chat:gone'\n",
        &[
            "provider[1].name differs from one in upper and lower case only",
            "provider[1].key is missing: calls go there without credentials",
            "provider[1].base_url has no path; most providers need their version part, as …/v1",
            "provider[1].probe asks for gone, which is not among the provider's models",
        ],
    );
    warned(
        "[[model.route]]\nmodel='r'\ntargets=['one/chta']\n",
        &["model.route[0] has one/chta, which is not among the models that are listed for one"],
    );
    warned(
        "[[provider.model]]\nname='p'\ndata_classes=['public']\n\
         [[model.key]]\nname='k'\nkey='env:K'\nmodels=['p']\nregion='mars'\ndata_class='secret'\n",
        &[
            "model.key[0].region is mars, where no model of the key is: all its calls are refused",
            "model.key[0].data_class is secret, which no model of the key may see: all its calls are refused",
        ],
    );
    // The embedded engine has a key too, of a fixed name.
    warned(
        "[[model.route]]\nmodel='r'\ntargets=['one/chat']\n[[model.route.target]]\nprovider='one'\nmodel='chat2'\nwhen.keys=['engine']\n\
         [[provider]]\nname='two'\nbase_url='http://two/v1'\nprobe='chat:x'\nmodels=['x','chat2']\n",
        &["model.route[0] has one/chat2, which is not among the models that are listed for one"],
    );
}

#[test]
fn a_provider_is_asked_as_its_configuration_says() {
    let config =
        read(&format!("{ONE}probe='chat:chat'\n[[provider]]\nname='two'\nbase_url='http://two/v1'\n"));
    let probes: Vec<_> = crate::wiring::peers(&config).providers.into_iter().map(|peer| peer.probe).collect();
    assert_eq!(probes, [ProbeKind::Chat { model: "chat".to_owned() }, ProbeKind::Models]);
    refused(
        "[[provider]]\nname='x'\nbase_url='http://x/v1'\nprobe='completion'\n",
        &["provider[1].probe is neither models nor chat:MODEL"],
    );
}

// The parser shows the line that it does not understand, and that line may hold a key that somebody wrote there.
#[test]
fn what_is_no_toml_is_told_by_its_place_and_never_repeated() {
    for (text, place) in [
        ("[store]\nurl = \"postgres://u:SESAME@h/d\n", "line 2, column "),
        ("[[provider]]\nkey = SESAME\n", "line 2, column 7: "),
        ("key = 'SESAME' SESAME\n", "line 1, column "),
        ("key = \"\\q SESAME\"\n", "line 1, column "),
        ("a = 1\na = \"SESAME\"\n", "line 2, column "),
        ("\"SESAME\n", "line 1, column "),
    ] {
        let error = parse("test", text, &[], Follow::FormOnly).unwrap_err().to_string();
        assert!(error.contains(place) && !error.contains("SESAME"), "{error}");
    }
}
