//! What was applied last, as the live `StatefulSet` tells it.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use super::plan::Template;
use super::template::{self, TemplateVersion};
use crate::cluster::names::{TEMPLATE, TEMPLATE_VERSION};

/// The pod template that was applied last.
///
/// Server-side apply takes away what an apply leaves out, so that whoever changes only `replicas` has to apply the template
/// once more, exactly as it was. It is kept as JSON in an annotation: the template that the API server shows has its defaults
/// and other people's fields in it, and would become the operator's own; and neither a restart nor a newer operator must
/// change it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Live {
    /// `None`: a version of a newer operator.
    pub(super) version: Option<TemplateVersion>,
    /// The version as the annotation has it.
    pub(super) version_text: String,
    /// The template.
    pub(super) template: Value,
}

impl Live {
    /// Of a `StatefulSet` that the operator has applied. `None`: somebody took the annotations away, and what was applied is
    /// not known any more; it is made anew.
    pub(super) fn read(set: &StatefulSet) -> Option<Self> {
        let annotations = set.metadata.annotations.as_ref()?;
        let version_text = annotations.get(TEMPLATE_VERSION)?.clone();
        let template: Value = serde_json::from_str(annotations.get(TEMPLATE)?).ok()?;
        template::image(&template)?;
        Some(Self { version: TemplateVersion::of(&version_text), version_text, template })
    }

    /// The image of the gateways.
    pub(super) fn image(&self) -> &str {
        template::image(&self.template).unwrap_or_default()
    }

    /// The same once more.
    pub(super) fn as_template(&self) -> Template {
        Template { version: self.version_text.clone(), body: self.template.clone() }
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.template["metadata"]["annotations"][name].as_str()
    }
}
