//! What an app is: `/v1/info`, `/v1/parameters`, `/v1/meta`, `/v1/site`.

use http::Response;
use mainstay_net::Body;
use mainstay_wire::dify::{ApiError, answer};
use serde_json::json;

use crate::{
    ServiceCall, Standby,
    files::{FILE_SIZE_LIMIT_MB, FILES_PER_RUN, IMAGE_SIZE_LIMIT_MB},
    reply,
};

impl Standby {
    pub(crate) async fn info(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let app = self.inner.catalog.app(&call.app_id).await?;
        Ok(reply::ok(&answer::Info {
            name: &app.name,
            description: &app.description,
            tags: &[],
            mode: app.mode.as_str(),
            author_name: &self.inner.options.author_name,
        }))
    }

    pub(crate) async fn parameters(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let app = self.inner.catalog.app(&call.app_id).await?;
        let version = self.inner.catalog.current(&app).await?;
        let limits = answer::SystemParameters {
            image_file_size_limit: IMAGE_SIZE_LIMIT_MB,
            video_file_size_limit: FILE_SIZE_LIMIT_MB,
            audio_file_size_limit: FILE_SIZE_LIMIT_MB,
            file_size_limit: FILE_SIZE_LIMIT_MB,
            workflow_file_upload_limit: FILES_PER_RUN,
        };
        Ok(reply::ok(&answer::Parameters::of(&version.features, version.form.listed(), limits)))
    }

    pub(crate) async fn meta(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        self.inner.catalog.app(&call.app_id).await?;
        Ok(reply::ok(&json!({"tool_icons": {}})))
    }

    pub(crate) async fn site(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let app = self.inner.catalog.app(&call.app_id).await?;
        let version = self.inner.catalog.current(&app).await?;
        Ok(reply::ok(&answer::Site {
            title: &app.name,
            chat_color_theme: None,
            chat_color_theme_inverted: false,
            icon_type: &version.icon_type,
            icon: &app.icon,
            icon_background: &app.icon_background,
            description: None,
            copyright: None,
            privacy_policy: None,
            custom_disclaimer: "",
            default_language: "en-US",
            show_workflow_steps: true,
            use_icon_as_answer_icon: version.use_icon_as_answer_icon,
            icon_url: None,
        }))
    }
}
