{{/* What selectors use. The same in every release, so that gateways know their operator by it. */}}
{{- define "imcluster-operator.selector" -}}
app.kubernetes.io/name: imcluster-operator
{{- end }}

{{/* Labels on every object. */}}
{{- define "imcluster-operator.labels" -}}
{{ include "imcluster-operator.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Whom roles are bound to. */}}
{{- define "imcluster-operator.subjects" -}}
- kind: ServiceAccount
  name: imcluster-operator
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* What the operator may do where there are ImClusters: in step with manifests/watched-namespace/role.yaml, which says why. */}}
{{- define "imcluster-operator.rules" -}}
- apiGroups: [imcluster.dev]
  resources: [imclusters/status]
  verbs: [update]
- apiGroups: [imcluster.dev]
  resources: [imclusters/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
