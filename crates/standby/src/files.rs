//! Files of a run: those a caller uploads, and those a request refers to.

use mainstay_base::id;
use mainstay_store::model::{App, File, NewFile};
use mainstay_wire::dify::{
    ApiError, InputForm, answer,
    form::{Variable, VariableKind},
    request,
};
use serde_json::{Map, Value, json};

use crate::{ServiceCall, Standby, catalog::Published, reply};

/// Fields and files of one upload form.
const MAX_PARTS: usize = 16;
const MAX_NAME_CHARACTERS: usize = 200;
/// The longest text field of an upload form that is read.
const MAX_FIELD_BYTES: usize = 4096;
/// Megabytes; also what `/v1/parameters` tells.
pub(crate) const FILE_SIZE_LIMIT_MB: u64 = 15;
pub(crate) const IMAGE_SIZE_LIMIT_MB: u64 = 10;
pub(crate) const FILES_PER_RUN: u64 = 10;
const IMAGE_EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "svg"];

struct Uploaded {
    name: String,
    mime_type: String,
    content: bytes::Bytes,
}

impl Standby {
    pub(crate) async fn upload(
        &self,
        call: ServiceCall,
    ) -> Result<http::Response<mainstay_net::Body>, ApiError> {
        let (user, mut files) = read_form(&call).await?;
        let app = self.inner.catalog.app(&call.app_id).await?;
        let Some(file) = files.pop() else {
            return Err(ApiError::new(400, "no_file_uploaded", "Please upload your file."));
        };
        if !files.is_empty() {
            return Err(ApiError::new(400, "too_many_files", "Only one file is allowed."));
        }
        let file = checked(file)?;
        let session_id = match user {
            Some(user) => request::checked_user(user)?,
            None => None,
        };
        let end_user_id = self.end_user(&app.id, session_id.as_deref().unwrap_or(DEFAULT_USER)).await?;
        let new = NewFile {
            id: id::new(),
            app_id: app.id.clone(),
            end_user_id,
            extension: extension(&file.name),
            name: file.name,
            mime_type: file.mime_type,
            content: file.content.to_vec(),
        };
        let stored = self.inner.store.files().insert(new).await;
        let stored = stored.map_err(|error| reply::of_store("storing a file", error))?;
        Ok(reply::json(http::StatusCode::CREATED, &described(stored)))
    }

    /// A form's inputs, checked, with files looked up.
    pub(crate) async fn fill(
        &self,
        app: &App,
        version: &Published,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ApiError> {
        let mut inputs = version.form.fill(given)?;
        let InputForm { variables } = &version.form;
        for Variable { name, kind, .. } in variables {
            let Some(value) = inputs.get_mut(name) else { continue };
            match (kind, &value) {
                (VariableKind::File, Value::Object(_)) => *value = self.file_object(app, value).await?,
                (VariableKind::FileList, Value::Array(files)) => {
                    let mut objects = Vec::with_capacity(files.len());
                    for file in files {
                        objects.push(self.file_object(app, file).await?);
                    }
                    *value = Value::Array(objects);
                }
                _ => {}
            }
        }
        Ok(inputs)
    }

    /// A request's `files`. Dify ignores them when the app does not ask for any.
    pub(crate) async fn attached(
        &self,
        app: &App,
        version: &Published,
        files: Vec<Value>,
    ) -> Result<Vec<Value>, ApiError> {
        let feature = version.features.get("file_upload");
        let is_enabled = feature.and_then(|upload| upload.get("enabled")).and_then(Value::as_bool);
        if is_enabled != Some(true) {
            return Ok(Vec::new());
        }
        let limit = feature
            .and_then(|upload| upload.get("number_limits"))
            .and_then(Value::as_u64)
            .unwrap_or(FILES_PER_RUN);
        if files.len() as u64 > limit {
            return Err(ApiError::invalid_param(format!(
                "Number of files exceeds the maximum limit {limit}"
            )));
        }
        let mut objects = Vec::with_capacity(files.len());
        for file in &files {
            objects.push(self.file_object(app, file).await?);
        }
        Ok(objects)
    }

    /// Dify's description of a file, from a caller's reference to it.
    async fn file_object(&self, app: &App, mapping: &Value) -> Result<Value, ApiError> {
        let text = |name: &str| mapping.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let kind = text("type").unwrap_or_default();
        if !["image", "document", "audio", "video", "custom"].contains(&kind) {
            return Err(ApiError::invalid_param("Missing file type or transfer method"));
        }
        match text("transfer_method") {
            Some("remote_url") => {
                let url = text("url").or(text("remote_url"));
                let url = url.and_then(|url| url::Url::parse(url).ok());
                let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
                    return Err(ApiError::invalid_param("Invalid file url"));
                };
                Ok(remote(app, kind, &url))
            }
            Some("local_file") => {
                let id = text("upload_file_id").filter(|id| id::is_uuid(id));
                let id = id.ok_or_else(|| ApiError::invalid_param("Invalid upload file id format"))?;
                let found = self.inner.store.files().get(id).await;
                let found = found.map_err(|error| reply::of_store("reading a file", error))?;
                let file = found.filter(|file| file.app_id == app.id);
                Ok(local(app, kind, &file.ok_or_else(|| ApiError::invalid_param("Invalid upload file"))?))
            }
            _ => Err(ApiError::invalid_param("Missing file type or transfer method")),
        }
    }
}

/// Dify's name for a caller that gave none.
pub(crate) const DEFAULT_USER: &str = "DEFAULT-USER";

async fn read_form(call: &ServiceCall) -> Result<(Option<String>, Vec<Uploaded>), ApiError> {
    let malformed = || ApiError::new(400, "no_file_uploaded", "Please upload your file.");
    let boundary =
        call.content_type().and_then(|kind| multer::parse_boundary(kind).ok()).ok_or_else(malformed)?;
    let body = call.body.clone();
    let pieces = futures_util::stream::once(async move { Ok::<_, std::io::Error>(body) });
    let mut form = multer::Multipart::new(pieces, boundary);
    let (mut user, mut files) = (None, Vec::new());
    let mut parts = 0;
    while let Some(part) = form.next_field().await.map_err(|_| malformed())? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(ApiError::too_large());
        }
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(str::to_owned);
        let mime_type = part.content_type().map(ToString::to_string);
        let content = part.bytes().await.map_err(|_| malformed())?;
        match file_name {
            Some(file_name) if name == "file" => {
                let mime_type = mime_type.unwrap_or_else(|| "application/octet-stream".to_owned());
                files.push(Uploaded { name: file_name, mime_type, content });
            }
            None if name == "user" && content.len() <= MAX_FIELD_BYTES => {
                user = Some(String::from_utf8(content.to_vec()).map_err(|_| ApiError::malformed_json())?);
            }
            _ => {}
        }
    }
    Ok((user, files))
}

fn checked(mut file: Uploaded) -> Result<Uploaded, ApiError> {
    if file.name.is_empty() {
        let message = "The specified filename does not exist.";
        return Err(ApiError::new(400, "filename_not_exists_error", message));
    }
    if file.name.contains(['/', '\\', '\0']) {
        return Err(ApiError::invalid_param("Filename contains invalid characters"));
    }
    let extension = extension(&file.name);
    let limit_mb =
        if IMAGE_EXTENSIONS.contains(&extension.as_str()) { IMAGE_SIZE_LIMIT_MB } else { FILE_SIZE_LIMIT_MB };
    if file.content.len() as u64 > limit_mb * 1024 * 1024 {
        return Err(ApiError::new(413, "file_too_large", "File size exceeded. None"));
    }
    if file.name.chars().count() > MAX_NAME_CHARACTERS {
        let stem: String = file.name.chars().take_while(|character| *character != '.').collect();
        let stem: String = stem.chars().take(MAX_NAME_CHARACTERS).collect();
        file.name = format!("{stem}.{extension}");
    }
    Ok(file)
}

fn described(file: File) -> answer::File {
    answer::File {
        id: file.id,
        name: file.name,
        size: u64::try_from(file.size).unwrap_or(0),
        extension: file.extension,
        mime_type: file.mime_type,
        created_by: file.end_user_id,
        created_at: file.created_at.unix_seconds(),
        preview_url: None,
        source_url: None,
        original_url: None,
        user_id: None,
        tenant_id: None,
        conversation_id: None,
        file_key: None,
    }
}

fn remote(app: &App, kind: &str, url: &url::Url) -> Value {
    let name = url.path_segments().and_then(Iterator::last).unwrap_or_default();
    json!({
        "dify_model_identity": "__dify__file__",
        "id": null,
        "tenant_id": app.id,
        "type": kind,
        "transfer_method": "remote_url",
        "remote_url": url.as_str(),
        "related_id": null,
        "filename": name,
        "extension": format!(".{}", extension(name)),
        "mime_type": null,
        "size": -1,
        "url": url.as_str(),
    })
}

fn local(app: &App, kind: &str, file: &File) -> Value {
    json!({
        "dify_model_identity": "__dify__file__",
        "id": null,
        "tenant_id": app.id,
        "type": kind,
        "transfer_method": "local_file",
        "remote_url": null,
        "related_id": file.id,
        "filename": file.name,
        "extension": format!(".{}", file.extension),
        "mime_type": file.mime_type,
        "size": file.size,
        "url": null,
    })
}

fn extension(name: &str) -> String {
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default()
}
