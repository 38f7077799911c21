//! Whether a home's objects are what they were: each is read from the store and opened. Starts no machine, writes nothing.

use std::{collections::BTreeSet, time::Duration};

use axum::{Json, extract::State};
use protocol::{
    Code, ManifestId, WorkspaceId,
    api::check::{Check, Checked, Damage},
};
use tokio::{sync::Semaphore, time::timeout};
use volume::VolumeError;

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
    snapshots::missing,
    workspaces::{allowed, forgotten},
};
use crate::{
    authz::Action,
    core::{App, Core},
    db::Scope,
    tenants::{self, TenantKey},
    workspaces::snapshots::{self, Which},
};

/// Reading a home whole takes the store's best; more at once would only make each slower.
static CHECKS: Semaphore = Semaphore::const_new(2);
const CHECK_MAX: Duration = Duration::from_secs(3600);
/// Snapshots of one check.
const SNAPSHOTS_MAX: i64 = 10_000;

/// Reads every object that a home's snapshots name, and says which are damaged.
#[utoipa::path(post, path = "/workspaces/{id}/check", tag = "snapshots", params(("id" = WorkspaceId, Path)),
    request_body = Check,
    responses((status = 200, body = Checked), (status = 404, body = protocol::Problem), (status = 504, body = protocol::Problem)))]
pub async fn check(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<Check>,
) -> Result<Json<Checked>> {
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let tenant = allowed.caller().tenant;
    let mut scope = app.db.scope(allowed).await?;
    let manifests = wanted(&mut scope, id, request.all).await?;
    let TenantKey::Open(key) = tenants::key(&app, scope.connection(), tenant).await? else {
        return Err(forgotten());
    };
    drop(scope);
    let _turn = CHECKS.try_acquire().map_err(|_| {
        ApiError::new(Code::RateLimited, "Other homes are being checked. Try again in a while.")
    })?;
    let checking = async {
        let mut checked = Checked::default();
        for manifest in manifests {
            add(&mut checked, verified(&app, key.clone(), tenant, manifest).await?);
        }
        Ok(Json(checked))
    };
    let late =
        || ApiError::new(Code::Timeout, "Reading the home took too long. Check its newest snapshot only.");
    timeout(CHECK_MAX, checking).await.unwrap_or_else(|_| Err(late()))
}

async fn wanted(scope: &mut Scope, id: WorkspaceId, all: bool) -> Result<BTreeSet<ManifestId>> {
    let found = if all {
        snapshots::list(scope, id, None, SNAPSHOTS_MAX).await?
    } else {
        snapshots::find(scope, id, Which::Latest).await?.into_iter().collect()
    };
    if found.is_empty() { Err(missing()) } else { Ok(found.into_iter().map(|one| one.manifest).collect()) }
}

async fn verified(
    app: &Core,
    key: volume::DataKey,
    tenant: protocol::TenantId,
    manifest: ManifestId,
) -> Result<Checked> {
    let read = async { volume::Reader::open(app.store.clone(), key, tenant, manifest).await?.verify().await };
    let damage = |object: String, message: &str| Damage { object, message: message.to_owned() };
    match read.await {
        Ok(verified) => Ok(Checked {
            snapshots: 1,
            objects: verified.objects,
            bytes: verified.bytes,
            damaged: verified
                .damaged
                .into_iter()
                .map(|object| damage(object, "missing or altered"))
                .collect(),
        }),
        Err(VolumeError::Manifest { id, source }) => Ok(Checked {
            snapshots: 1,
            damaged: vec![damage(format!("{tenant}/manifests/{id}"), &source.to_string())],
            ..Checked::default()
        }),
        Err(VolumeError::Store(volume::StoreError::NotFound(object))) => {
            Ok(Checked { snapshots: 1, damaged: vec![damage(object, "missing")], ..Checked::default() })
        }
        Err(error) => {
            tracing::error!(%error, %manifest, "a home cannot be checked");
            Err(ApiError::new(Code::Unavailable, "The store does not answer as it should. Try again."))
        }
    }
}

fn add(sum: &mut Checked, one: Checked) {
    sum.snapshots += one.snapshots;
    sum.objects += one.objects;
    sum.bytes += one.bytes;
    for damage in one.damaged {
        if !sum.damaged.contains(&damage) {
            sum.damaged.push(damage);
        }
    }
}
