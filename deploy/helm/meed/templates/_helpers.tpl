{{- define "meed.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "meed.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "meed.labels" -}}
{{ include "meed.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "meed.image" -}}
{{ required "image.repository: say where your registry has the image" .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The common part of the replicas and the migration. */}}
{{- define "meed.pod" -}}
# No process here uses the Kubernetes API.
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "meed.container" -}}
image: {{ include "meed.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The URLs come from files, so that no environment variable contains a password. */}}
{{- define "meed.urls" -}}
- name: MEED__DATABASE__URL_FILE
  value: /etc/meed/database/url
{{- if .Values.cache.secret }}
- name: MEED__CACHE__URL_FILE
  value: /etc/meed/cache/url
{{- end }}
{{- end -}}

{{- define "meed.urlMounts" -}}
- name: database
  mountPath: /etc/meed/database
  readOnly: true
{{- if .Values.cache.secret }}
- name: cache
  mountPath: /etc/meed/cache
  readOnly: true
{{- end }}
{{- if .Values.kafka.secret }}
- name: kafka
  mountPath: /etc/meed/kafka
  readOnly: true
{{- end }}
{{- end -}}

{{- define "meed.urlVolumes" -}}
- name: database
  secret:
    secretName: {{ .Values.database.secret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.database.key }}
        path: url
{{- if .Values.cache.secret }}
- name: cache
  secret:
    secretName: {{ .Values.cache.secret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.cache.key }}
        path: url
{{- end }}
{{- if .Values.kafka.secret }}
- name: kafka
  secret:
    secretName: {{ .Values.kafka.secret }}
    defaultMode: 0440
{{- end }}
{{- end -}}
