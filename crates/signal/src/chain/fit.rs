//! Whether a target can serve a call.

use mainstay_base::snapshot::{Conditions, ModelTarget, Offer};

use super::{Ask, Why};

/// Why it cannot; `None`: it can. `kept_model` is the model to which an [`Ask::keeps_model`] is bound.
pub(super) fn misfit(target: &ModelTarget, ask: &Ask<'_>, kept_model: Option<&str>) -> Option<Why> {
    let other_model = ask.keeps_model && kept_model.is_some_and(|kept| !is_same_model(kept, &target.model));
    let no_responses = ask.needs_responses && !target.provider.speaks_responses;
    let misfit = unmet(&target.when, ask).or_else(|| unserved(&target.offer, ask));
    misfit.or(other_model.then_some(Why::OtherModel)).or(no_responses.then_some(Why::NoResponses))
}

/// Providers put their own names in front (`models/…` at Google, `openai/…` at OpenRouter), and write letters as they like.
fn is_same_model(one: &str, other: &str) -> bool {
    let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    bare(one) == bare(other)
}

fn unmet(when: &Conditions, ask: &Ask<'_>) -> Option<Why> {
    let Conditions { keys, min_input_tokens, max_input_tokens } = when;
    if !keys.is_empty() && !keys.iter().any(|key| key == ask.key) {
        return Some(Why::OtherKeys);
    }
    if let Some(at_least) = min_input_tokens.filter(|at_least| ask.input_tokens < *at_least) {
        return Some(Why::InputTooShort { at_least });
    }
    let at_most = max_input_tokens.filter(|at_most| ask.input_tokens > *at_most)?;
    Some(Why::InputTooLong { at_most })
}

fn unserved(offer: &Offer, ask: &Ask<'_>) -> Option<Why> {
    let Offer { region, data_classes, context_tokens, max_output_tokens, tools, vision, structured_output } =
        offer;
    if ask.region.is_some_and(|wanted| region.as_deref() != Some(wanted)) {
        return Some(Why::OtherRegion { has: region.clone() });
    }
    // Data of which nobody said its class is not shown to whom some classes are kept from.
    let may_see = |class| data_classes.iter().any(|may| may == class);
    if !data_classes.is_empty() && !ask.data_class.is_some_and(may_see) {
        return Some(Why::DataClass { may_see: data_classes.clone() });
    }
    let needed = ask.input_tokens.saturating_add(ask.max_output_tokens.unwrap_or(0));
    if let Some(context_tokens) = context_tokens.filter(|context| needed > *context) {
        return Some(Why::ContextTooShort { context_tokens });
    }
    if let Some(max_output_tokens) =
        max_output_tokens.filter(|most| ask.max_output_tokens.is_some_and(|wanted| wanted > *most))
    {
        return Some(Why::OutputTooShort { max_output_tokens });
    }
    let lacks = [
        (ask.tools && !tools, Why::NoTools),
        (ask.vision && !vision, Why::NoVision),
        (ask.structured_output && !structured_output, Why::NoStructuredOutput),
    ];
    lacks.into_iter().find_map(|(lacks, why)| lacks.then_some(why))
}

#[cfg(test)]
mod tests {
    use super::is_same_model;

    #[test]
    fn a_model_is_the_same_under_a_providers_prefix() {
        for (one, other, is_same) in [
            ("text-embedding-3-small", "openai/text-embedding-3-small", true),
            ("models/Text-Embedding-004", "text-embedding-004", true),
            ("text-embedding-3-small", "text-embedding-3-large", false),
        ] {
            assert_eq!(is_same_model(one, other), is_same, "{one} {other}");
        }
    }
}
