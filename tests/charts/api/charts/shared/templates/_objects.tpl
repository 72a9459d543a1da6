{{- define "shared.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "shared.deployment" }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .root.Release.Name }}-{{ .name }}
  labels:
    {{- include "shared.labels" .root | nindent 4 }}
spec:
  replicas: {{ .replicas }}
  revisionHistoryLimit: 2
  strategy:
    rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}
  selector:
    matchLabels: &labels
      app: {{ .root.Release.Name }}-{{ .name }}
  template:
    metadata:
      labels: *labels
    spec:
      containers:
        - name: {{ .name }}
          image: registry.local/hello:v1
          ports:
            - {name: http, containerPort: 80}
          readinessProbe:
            httpGet: {path: /, port: http}
            periodSeconds: 1
{{- end }}

{{- define "shared.service" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ .root.Release.Name }}-{{ .name }}
spec:
  selector:
    app: {{ .root.Release.Name }}-{{ .name }}
  ports:
    - {name: http, port: 80, targetPort: http}
{{- end }}
