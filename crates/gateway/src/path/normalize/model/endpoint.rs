//! What a virtual key may ask a provider for. A provider's key opens more (files, fine-tuning, an organisation's
//! settings), and is not lent for that.

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    Rerank,
    Moderations,
    Speech,
    Transcriptions,
    Translations,
    ImageGenerations,
    ImageEdits,
    ImageVariations,
    Responses,
}

impl Endpoint {
    pub(crate) const ALL: [Endpoint; 12] = [
        Endpoint::Chat,
        Endpoint::Completions,
        Endpoint::Embeddings,
        Endpoint::Rerank,
        Endpoint::Moderations,
        Endpoint::Speech,
        Endpoint::Transcriptions,
        Endpoint::Translations,
        Endpoint::ImageGenerations,
        Endpoint::ImageEdits,
        Endpoint::ImageVariations,
        Endpoint::Responses,
    ];

    /// The one whose path this is, with its `/v1`.
    pub(crate) fn of(path: &str) -> Option<Endpoint> {
        Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::Rerank => "/v1/rerank",
            Endpoint::Moderations => "/v1/moderations",
            Endpoint::Speech => "/v1/audio/speech",
            Endpoint::Transcriptions => "/v1/audio/transcriptions",
            Endpoint::Translations => "/v1/audio/translations",
            Endpoint::ImageGenerations => "/v1/images/generations",
            Endpoint::ImageEdits => "/v1/images/edits",
            Endpoint::ImageVariations => "/v1/images/variations",
            Endpoint::Responses => "/v1/responses",
        }
    }

    /// Whether its request is JSON; a form with files otherwise.
    pub(crate) fn is_json(self) -> bool {
        !matches!(
            self,
            Endpoint::Transcriptions
                | Endpoint::Translations
                | Endpoint::ImageEdits
                | Endpoint::ImageVariations
        )
    }

    /// Whether `"stream": true` means something here.
    pub(crate) fn may_stream(self) -> bool {
        match self {
            Endpoint::Chat
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Transcriptions
            | Endpoint::ImageGenerations
            | Endpoint::ImageEdits => true,
            Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Moderations
            | Endpoint::Speech
            | Endpoint::Translations
            | Endpoint::ImageVariations => false,
        }
    }

    /// Whether it answers in tokens of text, so that `max_tokens` and what an answer costs at most mean something.
    pub(crate) fn writes_text(self) -> bool {
        matches!(self, Endpoint::Chat | Endpoint::Completions | Endpoint::Responses)
    }

    /// Whether the same request has the same answer.
    pub(crate) fn is_deterministic(self) -> bool {
        matches!(self, Endpoint::Embeddings | Endpoint::Rerank | Endpoint::Moderations)
    }

    /// The model that is meant when a body names none, where OpenAI's API says one.
    pub(crate) fn default_model(self) -> Option<&'static str> {
        matches!(self, Endpoint::Moderations).then_some("omni-moderation-latest")
    }
}
