//! What describes a cache in an object store: options as BuildKit names them, and the environment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use reqwest::Url;

use crate::backend::object::ObjectBackend;
use crate::backend::object::http::Connector;
use crate::backend::{BackendError, service_config};
use crate::registry::install_crypto;

const S3_OPTIONS: [&str; 11] = [
    "bucket",
    "region",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
];
const GCS_OPTIONS: [&str; 7] =
    ["bucket", "prefix", "blobs_prefix", "manifests_prefix", "name", "service_account", "endpoint_url"];
const AZBLOB_OPTIONS: [&str; 8] = [
    "account_url",
    "account_name",
    "container",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "secret_access_key",
];

/// Variables whose names are those of settings.
const AWS_VARIABLES: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
];
const GOOGLE_VARIABLES: [&str; 5] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
];
const AZURE_VARIABLES: [&str; 12] = [
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_IDENTITY_ENDPOINT",
];

/// Looks a variable up.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The options of one kind of store.
struct Options<'a> {
    kind: &'static str,
    given: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    fn new(
        kind: &'static str,
        given: &'a BTreeMap<String, String>,
        known: &[&str],
    ) -> Result<Self, BackendError> {
        match given.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(Self { kind, given }),
            Some(key) => Err(BackendError::Options(format!(
                "a cache of type `{kind}` has no option `{key}`, but {}",
                known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.given.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn need(&self, key: &str, variable: Option<String>) -> Result<String, BackendError> {
        self.get(key).map(str::to_owned).or(variable).filter(|value| !value.is_empty()).ok_or_else(|| {
            BackendError::Options(format!("a cache of type `{}` needs the option `{key}`", self.kind))
        })
    }

    fn refuse(&self, reason: &object_store::Error) -> BackendError {
        BackendError::Options(format!("the options of the `{}` cache do not do: {reason}", self.kind))
    }

    fn backend(&self, place: &str, store: Arc<dyn ObjectStore>) -> Result<ObjectBackend, BackendError> {
        let prefix = self.get("prefix").unwrap_or_default();
        let folder = |key: &str, default: &str| format!("{prefix}{}", self.get(key).unwrap_or(default));
        let names = self.get("name").unwrap_or("kairn").split(';').filter(|name| !name.is_empty());
        let names: Vec<_> = names.map(str::to_owned).collect();
        let place = format!("{place}/{prefix}").trim_end_matches('/').to_owned();
        ObjectBackend::new(
            place,
            store,
            &folder("blobs_prefix", "blobs/"),
            folder("manifests_prefix", "manifests/"),
            names,
        )
    }
}

/// An account that signs nothing.
const NO_ACCOUNT: &str =
    r#"{ "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": "" }"#;

impl ObjectBackend {
    /// Opens a cache in S3, or a store that speaks like it; nothing is sent yet.
    ///
    /// Credentials are those of the options, else of `AWS_*` variables, else of the machine's role. Files of profiles are
    /// not read.
    ///
    /// # Errors
    /// [`BackendError::Options`] where an option is unknown, missing or wrong.
    pub fn s3(given: &BTreeMap<String, String>, env: Variables<'_>) -> Result<Self, BackendError> {
        let options = Options::new("s3", given, &S3_OPTIONS)?;
        let bucket = options.need("bucket", env("AWS_BUCKET"))?;
        let own = options.get("access_key_id").zip(options.get("secret_access_key"));
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables(&AWS_VARIABLES, env) {
            // A session belongs to its own credentials.
            let is_other = own.is_some() && name == "aws_session_token";
            if let Ok(key) = name.parse::<AmazonS3ConfigKey>()
                && !is_other
            {
                builder = builder.with_config(key, value);
            }
        }
        if let Some((id, secret)) = own {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        if let Some(token) = options.get("session_token") {
            builder = builder.with_token(token);
        }
        if let Some(region) = options.get("region") {
            builder = builder.with_region(region);
        }
        let is_path_style =
            options.get("use_path_style").is_some_and(|value| value == "true" || value == "1");
        let endpoint = options.get("endpoint_url").map(str::to_owned);
        let endpoint = endpoint.or_else(|| env("AWS_ENDPOINT_URL_S3")).or_else(|| env("AWS_ENDPOINT_URL"));
        builder = match endpoint {
            None => builder.with_virtual_hosted_style_request(!is_path_style && !bucket.contains('.')),
            Some(endpoint) => {
                let (endpoint, is_virtual) = s3_endpoint(&endpoint, &bucket, is_path_style)?;
                builder
                    .with_endpoint(endpoint)
                    .with_virtual_hosted_style_request(is_virtual)
                    .with_allow_http(true)
            }
        };
        let store = builder
            .with_bucket_name(&bucket)
            // Not all that speak like S3 have it.
            .with_disable_bulk_delete(true)
            .with_retry(retries())
            .with_http_connector(connector(env)?)
            .build()
            .map_err(|error| options.refuse(&error))?;
        options.backend(&format!("s3://{bucket}"), Arc::new(store))
    }

    /// Opens a cache in Google Cloud Storage; nothing is sent yet.
    ///
    /// Credentials are those of the file `service_account`, else of `GOOGLE_*` variables, else of the machine.
    ///
    /// # Errors
    /// [`BackendError::Options`] where an option is unknown, missing or wrong.
    pub fn gcs(given: &BTreeMap<String, String>, env: Variables<'_>) -> Result<Self, BackendError> {
        let options = Options::new("gcs", given, &GCS_OPTIONS)?;
        let bucket = options.need("bucket", env("GOOGLE_BUCKET"))?;
        let mut builder = GoogleCloudStorageBuilder::new();
        for (name, value) in variables(&GOOGLE_VARIABLES, env) {
            if let Ok(key) = name.parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(path) = options.get("service_account") {
            builder = builder.with_service_account_path(path);
        }
        if let Some(url) = options.get("endpoint_url") {
            builder = builder.with_base_url(url);
            if options.get("service_account").is_none() {
                // An emulator has no accounts, and the machine is not to be asked for one.
                builder = builder.with_skip_signature(true).with_service_account_key(NO_ACCOUNT);
            }
        }
        let store = builder
            .with_bucket_name(&bucket)
            .with_retry(retries())
            .with_http_connector(connector(env)?)
            .build()
            .map_err(|error| options.refuse(&error))?;
        options.backend(&format!("gs://{bucket}"), Arc::new(store))
    }

    /// Opens a cache in Azure Blob Storage; nothing is sent yet.
    ///
    /// Credentials are those of the options, else of `AZURE_*` variables, else of the machine's identity.
    ///
    /// # Errors
    /// [`BackendError::Options`] where an option is unknown, missing or wrong.
    pub fn azblob(given: &BTreeMap<String, String>, env: Variables<'_>) -> Result<Self, BackendError> {
        let options = Options::new("azblob", given, &AZBLOB_OPTIONS)?;
        let container = options.need("container", env("BUILDKIT_AZURE_STORAGE_CONTAINER"))?;
        let url = options.get("account_url").map(str::to_owned);
        let url = url.or_else(|| env("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"));
        let account = options.get("account_name").map(str::to_owned);
        let account = account.or_else(|| url.as_deref().and_then(azure_account));
        let account = options.need("account_name", account.or_else(|| env("AZURE_STORAGE_ACCOUNT_NAME")))?;
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in variables(&AZURE_VARIABLES, env) {
            if let Ok(key) = name.parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(key) = options.get("secret_access_key") {
            builder = builder.with_access_key(key);
        }
        if let Some(url) = &url {
            builder = builder.with_endpoint(url.trim_end_matches('/').to_owned()).with_allow_http(true);
        }
        let store = builder
            .with_account(&account)
            .with_container_name(&container)
            .with_retry(retries())
            .with_http_connector(connector(env)?)
            .build()
            .map_err(|error| options.refuse(&error))?;
        options.backend(&format!("azblob://{account}/{container}"), Arc::new(store))
    }
}

/// Returns the variables that are set and not empty, under the names that settings have.
fn variables(names: &[&str], env: Variables<'_>) -> Vec<(String, String)> {
    let set = |name: &&str| Some((name.to_ascii_lowercase(), env(name).filter(|value| !value.is_empty())?));
    names.iter().filter_map(set).collect()
}

/// Says where a bucket is at an endpoint: as a part of the host's name, or of the path.
fn s3_endpoint(endpoint: &str, bucket: &str, is_path_style: bool) -> Result<(String, bool), BackendError> {
    let refuse = || BackendError::Options(format!("`endpoint_url={endpoint}` is not a URL of http or https"));
    let mut url = Url::parse(endpoint).map_err(|_| refuse())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse());
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    // No bucket can be a part of an address's name.
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_path_style || is_address {
        return Ok((endpoint.trim_end_matches('/').to_owned(), false));
    }
    url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|_| refuse())?;
    Ok((url.as_str().trim_end_matches('/').to_owned(), true))
}

/// Returns the account of `https://ACCOUNT.blob.core.windows.net`.
fn azure_account(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let (account, rest) = url.host_str()?.split_once('.')?;
    rest.starts_with("blob.").then(|| account.to_owned())
}

/// Two retries, within a minute.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_mins(1) }
}

fn connector(env: Variables<'_>) -> Result<Connector, BackendError> {
    install_crypto();
    Connector::new(&service_config(env)).map_err(|error| BackendError::Options(error.to_string()))
}
