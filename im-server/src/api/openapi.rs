//! What the `OpenAPI` document says besides what the handlers say themselves.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Document;

const DESCRIPTION: &str = "Instant messaging by HTTP. Frames travel over a WebSocket (`GET /v1/connect`) or TCP; \
    everything here can also be done without one, but for receiving pushes. Errors are problems by RFC 9457; their \
    `code` is of a closed list, which the socket uses too. Absent and `null` mean the same; unknown fields are ignored. \
    Times are Unix milliseconds.";

/// The names of the security schemes, as the handlers refer to them.
const PERSON: &str = "access_token";
const SERVICE: &str = "service_token";

/// The beginning of the document, without a path.
pub(super) fn preamble() -> OpenApi {
    let bearer = |description: &str| {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.description = Some(description.to_owned());
        SecurityScheme::Http(http)
    };
    let mut components = Components::new();
    components
        .add_security_scheme(PERSON, bearer("An access token of `POST /v1/sessions`; it lives at most 15 minutes."));
    components.add_security_scheme(SERVICE, bearer("The service token of a backend: it speaks for any user."));
    let mut schemas = vec![(Document::name().into_owned(), Document::schema())];
    Document::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let license =
        LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).identifier(Some(env!("CARGO_PKG_LICENSE"))).build();
    let info = InfoBuilder::new()
        .title("ImCluster")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .build()
}

/// Adds what holds for every operation: how it fails.
pub(super) fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten();
        for operation in operations {
            add_problems(operation);
        }
    }
}

fn add_problems(operation: &mut Operation) {
    let mut add = |status: &str, description: &str| {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
    };
    if operation.security.is_some() {
        add("401", "`unauthorized` or `token_expired`");
    }
    let has_input =
        operation.request_body.is_some() || operation.parameters.as_ref().is_some_and(|all| !all.is_empty());
    if has_input {
        add("422", "`invalid_field` or `invalid_frame`: a field is missing or does not fit");
    }
    add("default", "Any other problem: see `code`");
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(Document::name());
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", ContentBuilder::new().schema(Some(RefOr::Ref(schema))).build())
        .build()
}
