//! Objects in a bucket of S3, or of a store with the same API. `If-None-Match: *` makes a creation
//! exclusive. Stores that do not support it are detected by [`ObjectStore::probe`] and refused.

use std::{fmt::Debug, ops::Range, time::Duration};

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{Credentials, RequestChecksumCalculation},
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectOutput,
    primitives::ByteStream,
};
use bytes::{Bytes, BytesMut};
use futures_util::{future::BoxFuture, stream};
use protocol::Redacted;

use super::{MAX_LIST, ObjectInfo, ObjectStore, ObjectStream, PutOutcome, StoreError, validate_name};

/// A store that does not accept a connection in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One attempt: enough for 8 MiB at 2 Mbit/s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(45);
/// Attempts that the SDK makes within one call. The caller retries calls.
const SDK_ATTEMPTS: u32 = 2;

/// Explicit credentials. Without them, those of the environment, the profile or the host's role are
/// used.
#[derive(Debug, Clone)]
pub struct S3Credentials {
    /// Access key id. It is not secret, and appears in requests.
    pub access_key: String,
    /// Secret access key, which signs requests.
    pub secret_key: Redacted<String>,
}

/// Where the bucket is, and how to talk to it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Name of the bucket. It must exist.
    pub bucket: String,
    /// Precedes every name; empty, or ends in `/`.
    pub prefix: String,
    /// An endpoint other than Amazon's. Buckets are then addressed by path.
    pub endpoint: Option<String>,
    /// Region of the bucket. Without it, the one of the environment or the profile.
    pub region: Option<String>,
    /// False for stores that reject the checksums that the SDK adds.
    pub checksums: bool,
    /// Keys to sign with. Without them, those that the environment provides.
    pub credentials: Option<S3Credentials>,
}

impl S3Options {
    /// Parses `s3://bucket/prefix?endpoint=…&region=…&checksums=off`.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let refused = || StoreError::InvalidUrl(url.to_owned());
        let rest = url.strip_prefix("s3://").ok_or_else(refused)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        let bucket_is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(bucket_is_plain) {
            return Err(refused());
        }
        if !prefix.is_empty() {
            validate_name(prefix).map_err(|_| refused())?;
        }
        let mut options = Self {
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            endpoint: None,
            region: None,
            checksums: true,
            credentials: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').ok_or_else(refused)? {
                ("endpoint", endpoint) => {
                    options.endpoint = Some(percent_decoded(endpoint).ok_or_else(refused)?);
                }
                ("region", region) => options.region = Some(region.to_owned()),
                ("checksums", "off") => options.checksums = false,
                _ => return Err(refused()),
            }
        }
        Ok(options)
    }
}

/// A store in a bucket.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
}

impl S3Store {
    /// Loads the configuration and credentials. Makes no request.
    pub async fn open(options: S3Options) -> Result<Self, StoreError> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(ATTEMPT_TIMEOUT * 2)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(SDK_ATTEMPTS));
        if let Some(region) = options.region {
            loader = loader.region(Region::new(region));
        } else if options.endpoint.is_some() {
            // Other stores mostly accept any region, but a request is signed with one.
            loader = loader.region(Region::new("us-east-1"));
        }
        if let Some(given) = options.credentials {
            let secret = given.secret_key.expose().clone();
            loader = loader.credentials_provider(Credentials::new(
                given.access_key,
                secret,
                None,
                None,
                "explicit",
            ));
        }
        if let Some(endpoint) = &options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let mut config = aws_sdk_s3::config::Builder::from(&loader.load().await)
            .force_path_style(options.endpoint.is_some());
        if !options.checksums {
            config = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        }
        Ok(Self { client: Client::from_conf(config.build()), bucket: options.bucket, prefix: options.prefix })
    }

    fn key(&self, name: &str) -> Result<String, StoreError> {
        validate_name(name)?;
        Ok(format!("{}{name}", self.prefix))
    }

    async fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<GetObjectOutput, StoreError> {
        // The end of an HTTP range is inclusive.
        let header = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name)?).set_range(header);
        request.send().await.map_err(|error| to_store_error(name, &error))
    }
}

impl ObjectStore for S3Store {
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            let request =
                self.client.put_object().bucket(&self.bucket).key(self.key(name)?).if_none_match("*");
            match request.body(ByteStream::from(body)).send().await {
                Ok(_) => Ok(PutOutcome::Created),
                Err(error) if status(&error) == Some(412) => Ok(PutOutcome::Existed),
                Err(error) => Err(to_store_error(name, &error)),
            }
        })
    }

    fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let output = self.read(name, None).await?;
            let length = output.content_length().and_then(|length| u64::try_from(length).ok());
            match length {
                Some(length) if length <= max_bytes => read_body(name, output, length).await,
                _ => Err(StoreError::Malformed(name.to_owned())),
            }
        })
    }

    fn get_stream<'a>(
        &'a self,
        name: &'a str,
        max_bytes: u64,
    ) -> BoxFuture<'a, Result<ObjectStream, StoreError>> {
        Box::pin(async move {
            let output = self.read(name, None).await?;
            let bytes = output.content_length().and_then(|length| u64::try_from(length).ok());
            let Some(bytes) = bytes.filter(|bytes| *bytes <= max_bytes) else {
                return Err(StoreError::Malformed(name.to_owned()));
            };
            let name = name.to_owned();
            let pieces = stream::try_unfold(output.body, move |mut body| {
                let name = name.clone();
                async move {
                    let piece = body.try_next().await.map_err(|error| broken_off(&name, &error))?;
                    Ok(piece.map(|piece| (piece, body)))
                }
            });
            Ok(ObjectStream { bytes, pieces: Box::pin(pieces) })
        })
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let length = range.end - range.start;
            let output = self.read(name, Some(range)).await?;
            // An object that ends within the range was truncated. A retry does not help.
            match output.content_length().and_then(|found| u64::try_from(found).ok()) {
                Some(found) if found != length => Err(StoreError::Malformed(name.to_owned())),
                _ => read_body(name, output, length).await,
            }
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        Box::pin(async move {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{}{prefix}", self.prefix))
                .set_start_after(after.map(|after| format!("{}{after}", self.prefix)))
                .max_keys(MAX_LIST as i32);
            let page = request.send().await.map_err(|error| to_store_error(prefix, &error))?;
            let listed = page.contents().iter().filter_map(|object| {
                let name = object.key()?.strip_prefix(&self.prefix)?.to_owned();
                Some(ObjectInfo { name, bytes: object.size().and_then(|size| u64::try_from(size).ok())? })
            });
            // Some stores also return the object that `start_after` names.
            Ok(listed.filter(|listed| after.is_none_or(|after| listed.name.as_str() > after)).collect())
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let request = self.client.delete_object().bucket(&self.bucket).key(self.key(name)?);
            match request.send().await {
                Err(error) if status(&error) != Some(404) => Err(to_store_error(name, &error)),
                _ => Ok(()),
            }
        })
    }
}

/// Reads the body: exactly `length` bytes. Stops at the first byte too many.
async fn read_body(name: &str, output: GetObjectOutput, length: u64) -> Result<Bytes, StoreError> {
    let mut body = output.body;
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).expect("callers ask for what fits"));
    while let Some(chunk) = body.try_next().await.map_err(|error| broken_off(name, &error))? {
        if (bytes.len() + chunk.len()) as u64 > length {
            return Err(StoreError::Malformed(name.to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as u64 == length {
        Ok(bytes.freeze())
    } else {
        Err(StoreError::Unavailable(format!("{name}: the response ended early")))
    }
}

fn broken_off(name: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(format!("{name}: {}", with_sources(error)))
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn to_store_error<E>(name: &str, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Debug + 'static,
{
    let text = format!("{name}: {}", with_sources(error));
    let code = error.code().unwrap_or_default();
    match status(error) {
        _ if code == "NoSuchBucket" => StoreError::Unsupported(text),
        Some(404) => StoreError::NotFound(name.to_owned()),
        Some(501) => StoreError::Unsupported(text),
        // The range begins beyond the object's end.
        Some(416) => StoreError::Malformed(name.to_owned()),
        // 409: two conditional writes at once. 408, 425, 429: retry later.
        Some(408 | 409 | 425 | 429) => StoreError::Unavailable(text),
        Some(status) if (400..500).contains(&status) && code != "RequestTimeout" && code != "SlowDown" => {
            StoreError::Denied(text)
        }
        None if matches!(error, SdkError::ConstructionFailure(_)) => StoreError::Denied(text),
        _ => StoreError::Unavailable(text),
    }
}

/// An error with its sources: the SDK's errors say little themselves.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Decodes percent-escapes, so that an endpoint may be given with or without them.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_gives_bucket_prefix_endpoint_and_region() {
        let options = S3Options::parse(
            "s3://homes/eu/one/?endpoint=http%3A%2F%2F127.0.0.1:9000&region=eu-1&checksums=off",
        )
        .expect("parses");
        assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("homes", "eu/one/"));
        assert_eq!(options.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(options.region.as_deref(), Some("eu-1"));
        assert!(!options.checksums);
        assert_eq!(S3Options::parse("s3://homes").expect("parses").prefix, "");
        for bad in ["s3://a b", "s3://homes/../x", "s3://homes?endpoint=%zz", "s3://homes?secret=x"] {
            assert!(S3Options::parse(bad).is_err(), "{bad}");
        }
    }
}
