{{- define "longwave.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The longest name whose pods have all of it in theirs: Kubernetes cuts what comes before a pod's
last five characters at 58, of which the ReplicaSet's hash and two dashes take 12, and KServe's
-predictor takes 10. A cut name would be one that no query knows. */}}
{{- define "longwave.nameRoom" -}}
{{- ternary 36 46 (eq .Values.mode "kserve") -}}
{{- end -}}

{{/* Release and chart, once if the one has the other in it. What is cut gets a hash of the whole:
two long releases may begin alike. */}}
{{- define "longwave.fullname" -}}
{{- $room := include "longwave.nameRoom" . | int -}}
{{- $name := include "longwave.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- if le (len $whole) $room -}}
{{- $whole -}}
{{- else -}}
{{- printf "%s-%s" ($whole | trunc (int (sub $room 9)) | trimSuffix "-") ($whole | sha256sum | trunc 8) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release: a selector cannot be changed. */}}
{{- define "longwave.selectorLabels" -}}
app.kubernetes.io/name: {{ include "longwave.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "longwave.metaLabels" -}}
app.kubernetes.io/name: {{ include "longwave.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "longwave.labels" -}}
{{ include "longwave.metaLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "longwave.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "longwave.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "longwave.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (printf "%s-%s" .Chart.AppVersion .Values.device) $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A quantity such as 512Mi in bytes; an empty one is 0. The schema bounds it to a million gigabytes,
so that sums stay numbers. */}}
{{- define "longwave.bytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[A-Za-z]+$" . -}}
{{- $factor := get (dict "none" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (default "none" $unit) -}}
{{- mul $number (int64 $factor) -}}
{{- end -}}

{{/* The quantity, from bytes: for people. */}}
{{- define "longwave.mebibytes" -}}
{{- printf "%dMi" (div (int64 .) 1048576) -}}
{{- end -}}

{{/* Memory of the container that is spoken for, without started work. */}}
{{- define "longwave.fixedBytes" -}}
{{- $memory := .Values.memory -}}
{{- $sum := include "longwave.bytes" $memory.base | int64 -}}
{{- $sum = add $sum (mul 3 (include "longwave.bytes" $memory.weights | int64)) -}}
{{- range list $memory.host $memory.transport $memory.receiving -}}
{{- $sum = add $sum (include "longwave.bytes" . | int64) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* What started work could have: the rest of the container's memory, or of the GPU's. Of that a
sixteenth (at least 1Gi) stays for CUDA itself. May be negative: _checks.tpl refuses that. */}}
{{- define "longwave.roomBytes" -}}
{{- if eq .Values.device "cuda" -}}
{{- $gpu := include "longwave.bytes" .Values.gpu.memory | int64 -}}
{{- $room := sub $gpu (max 1073741824 (div $gpu 16)) -}}
{{- sub $room (mul 2 (include "longwave.bytes" .Values.memory.weights | int64)) -}}
{{- else -}}
{{- sub (include "longwave.bytes" .Values.resources.limits.memory | int64) (include "longwave.fixedBytes" . | int64) -}}
{{- end -}}
{{- end -}}

{{- define "longwave.residentBytes" -}}
{{- if .Values.memory.resident -}}
{{- include "longwave.bytes" .Values.memory.resident -}}
{{- else -}}
{{- include "longwave.roomBytes" . -}}
{{- end -}}
{{- end -}}

{{/* What the server needs to end. */}}
{{- define "longwave.drainSeconds" -}}
{{- add .Values.drain.preStopSeconds .Values.drain.drainDelaySeconds .Values.drain.graceSeconds 5 -}}
{{- end -}}

{{- define "longwave.terminationGracePeriod" -}}
{{- if .Values.drain.terminationGracePeriodSeconds -}}
{{- int .Values.drain.terminationGracePeriodSeconds -}}
{{- else -}}
{{- include "longwave.drainSeconds" . -}}
{{- end -}}
{{- end -}}

{{/* The least number of pods that there ever is. */}}
{{- define "longwave.leastPods" -}}
{{- if and (eq .Values.mode "deployment") (eq .Values.autoscaling.kind "none") -}}
{{- int .Values.replicaCount -}}
{{- else -}}
{{- int .Values.autoscaling.minReplicas -}}
{{- end -}}
{{- end -}}

{{/* Folder of the model in the container. */}}
{{- define "longwave.modelPath" -}}
{{- if eq .Values.model.source "image" -}}
/opt/longwave/share/longwave/models/default
{{- else -}}
{{- printf "/models/%s" .Values.model.directory | trimSuffix "/" -}}
{{- end -}}
{{- end -}}

{{- define "longwave.serverName" -}}
{{- default (printf "%s.%s.svc" (include "longwave.fullname" .) .Release.Namespace) .Values.tls.serverName -}}
{{- end -}}

{{/* The flags of longwave-server as a YAML list. Takes root, port and model. A flag that is added
here gets a value, and with that its name in "longwave.ownedFlags". */}}
{{- define "longwave.args" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $server := $values.server -}}
{{- $args := list (printf "--model=%s" .model) -}}
{{- $args = append $args (printf "--device=%s" $values.device) -}}
{{- /* The server sees the node's processors, not the container's limit. */ -}}
{{- $args = append $args (printf "--threads=%d" (int $values.resources.limits.cpu)) -}}
{{- $args = append $args (printf "--cpu_target=%s" $server.cpuTarget) -}}
{{- $args = append $args (printf "--compute_dtype=%s" $server.computeDtype) -}}
{{- if $values.model.pollSeconds -}}
{{- $args = append $args (printf "--model_poll=%d" (int $values.model.pollSeconds)) -}}
{{- end -}}
{{- /* IPv4: the library behind the metrics port knows nothing else (README.md). */ -}}
{{- $args = append $args (printf "--address=0.0.0.0:%d" (int .port)) -}}
{{- $args = append $args "--metrics_address=0.0.0.0:9090" -}}
{{- if $values.tls.enabled -}}
{{- $args = append $args "--tls_certificate=/etc/longwave/tls/tls.crt" -}}
{{- $args = append $args "--tls_key=/etc/longwave/tls/tls.key" -}}
{{- if $values.tls.clientCASecretName -}}
{{- $args = append $args (printf "--tls_client_ca=/etc/longwave/client-ca/%s" $values.tls.clientCAKey) -}}
{{- end -}}
{{- else -}}
{{- $args = append $args "--allow_plaintext" -}}
{{- end -}}
{{- if $values.tenants.secretName -}}
{{- $args = append $args (printf "--tenants=/etc/longwave/tenants/%s" $values.tenants.key) -}}
{{- end -}}
{{- $args = append $args (printf "--%sreflection" (ternary "" "no-" $server.reflection)) -}}
{{- $args = append $args (printf "--max_connection_age=%d" (int $server.maxConnectionAgeSeconds)) -}}
{{- $args = append $args (printf "--max_concurrent_streams=%d" (int $server.maxConcurrentStreams)) -}}
{{- $args = append $args (printf "--max_resident_bytes=%s" (include "longwave.residentBytes" $root)) -}}
{{- $args = append $args (printf "--max_host_bytes=%s" (include "longwave.bytes" $values.memory.host)) -}}
{{- $args = append $args (printf "--max_transport_bytes=%s" (include "longwave.bytes" $values.memory.transport)) -}}
{{- $args = append $args (printf "--max_receiving_bytes=%s" (include "longwave.bytes" $values.memory.receiving)) -}}
{{- $args = append $args (printf "--max_wait=%v" $server.maxWaitSeconds) -}}
{{- $args = append $args (printf "--max_batch_class_wait=%v" $server.maxBatchClassWaitSeconds) -}}
{{- $args = append $args (printf "--max_deadline=%d" (int $server.maxDeadlineSeconds)) -}}
{{- $args = append $args (printf "--max_stream_deadline=%d" (int $server.maxStreamDeadlineSeconds)) -}}
{{- $args = append $args (printf "--max_request_tokens=%d" (int $server.maxRequestTokens)) -}}
{{- $args = append $args (printf "--max_queue_sequences=%d" (int $server.maxQueueSequences)) -}}
{{- $args = append $args (printf "--max_queue_tokens=%d" (int $server.maxQueueTokens)) -}}
{{- $args = append $args (printf "--drain_delay=%d" (int $values.drain.drainDelaySeconds)) -}}
{{- $args = append $args (printf "--grace=%d" (int $values.drain.graceSeconds)) -}}
{{- $args = append $args (printf "--%srefuse_beyond_grace" (ternary "" "no-" $server.refuseBeyondGrace)) -}}
{{- $args = append $args (printf "--hang_limit=%d" (int $server.hangLimitSeconds)) -}}
{{- $args = append $args (printf "--log_level=%s" $server.logLevel) -}}
{{- $args = append $args (printf "--log_requests=%s" $server.logRequests) -}}
{{- concat $args $values.extraArgs | toYaml -}}
{{- end -}}

{{/* Flags that extraArgs cannot give: each has a value, or would end the server at once. */}}
{{- define "longwave.ownedFlags" -}}
model device threads cpu_target compute_dtype model_poll address metrics_address port_file tls_certificate tls_key tls_client_ca allow_plaintext tenants reflection max_connection_age max_concurrent_streams max_resident_bytes max_host_bytes max_transport_bytes max_receiving_bytes max_wait max_batch_class_wait max_deadline max_stream_deadline max_request_tokens max_queue_sequences max_queue_tokens drain_delay grace refuse_beyond_grace hang_limit log_level log_requests check_config help version
{{- end -}}

{{/* Arguments by which `longwave` reaches a server: a YAML list. Takes root and server. */}}
{{- define "longwave.clientArgs" -}}
{{- $tls := .root.Values.tls -}}
{{- $args := list "--server" .server -}}
{{- if $tls.enabled -}}
{{- $args = concat $args (list "--tls-ca" (printf "/etc/longwave/tls/%s" $tls.caKey) "--tls-server-name" (include "longwave.serverName" .root)) -}}
{{- if $tls.clientCASecretName -}}
{{- $args = concat $args (list "--tls-certificate" "/etc/longwave/probe-client/tls.crt" "--tls-key" "/etc/longwave/probe-client/tls.key") -}}
{{- end -}}
{{- end -}}
{{- toYaml $args -}}
{{- end -}}

{{/* The way a probe asks for one health name. Takes root, port, service and timeout. The kubelet's
gRPC probe speaks plaintext, and with TLS the port speaks nothing else: then the client in the image
asks, from within. */}}
{{- define "longwave.probe" -}}
{{- if .root.Values.tls.enabled -}}
exec:
  command:
    - /opt/longwave/bin/longwave
    - health
    - --quiet
    {{- include "longwave.clientArgs" (dict "root" .root "server" (printf "127.0.0.1:%d" (int .port))) | nindent 4 }}
    {{- if .service }}
    - --service
    - {{ .service }}
    {{- end }}
    - --timeout
    - {{ max 1 (sub (int .timeout) 1) | quote }}
{{- else -}}
grpc:
  port: {{ .port }}
  service: {{ .service | quote }}
{{- end }}
timeoutSeconds: {{ int .timeout }}
{{- end -}}

{{- define "longwave.probes" -}}
{{- $probes := .root.Values.probes -}}
startupProbe:
  {{- include "longwave.probe" (dict "root" .root "port" .port "service" "longwave.startup" "timeout" $probes.startup.timeoutSeconds) | nindent 2 }}
  periodSeconds: {{ int $probes.startup.periodSeconds }}
  failureThreshold: {{ divf $probes.startup.maxSeconds $probes.startup.periodSeconds | ceil | int }}
readinessProbe:
  {{- include "longwave.probe" (dict "root" .root "port" .port "service" "" "timeout" $probes.readiness.timeoutSeconds) | nindent 2 }}
  periodSeconds: {{ int $probes.readiness.periodSeconds }}
  failureThreshold: {{ int $probes.readiness.failureThreshold }}
livenessProbe:
  {{- include "longwave.probe" (dict "root" .root "port" .port "service" "longwave.live" "timeout" $probes.liveness.timeoutSeconds) | nindent 2 }}
  periodSeconds: {{ int $probes.liveness.periodSeconds }}
  failureThreshold: {{ int $probes.liveness.failureThreshold }}
{{- end -}}

{{- define "longwave.resources" -}}
{{- $limits := .Values.resources.limits -}}
{{- $requests := .Values.resources.requests -}}
limits:
  cpu: {{ int $limits.cpu }}
  memory: {{ $limits.memory }}
  ephemeral-storage: {{ index $limits "ephemeral-storage" }}
  {{- if eq .Values.device "cuda" }}
  {{ .Values.gpu.resourceName }}: 1
  {{- end }}
requests:
  cpu: {{ int (default $limits.cpu $requests.cpu) }}
  memory: {{ default $limits.memory $requests.memory }}
  ephemeral-storage: {{ index $limits "ephemeral-storage" }}
  {{- if eq .Values.device "cuda" }}
  {{ .Values.gpu.resourceName }}: 1
  {{- end }}
{{- end -}}

{{/* Seconds over which a rate is taken: two scrapes must lie in it for certain. */}}
{{- define "longwave.rateSeconds" -}}
{{- max 60 (mul 4 (int .Values.monitoring.intervalSeconds)) -}}
{{- end -}}

{{/* Spread over zones and nodes: a list, empty if neither is wanted. */}}
{{- define "longwave.spread" -}}
{{- range $key, $when := dict "topology.kubernetes.io/zone" .Values.topologySpread.zone "kubernetes.io/hostname" .Values.topologySpread.host }}
{{- if ne $when "none" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ $when }}
  # A node whose taints keep our pods off must not count as one that has none of them.
  nodeTaintsPolicy: Honor
  labelSelector:
    matchLabels:
      {{- include "longwave.selectorLabels" $ | nindent 6 }}
  # Each version by itself: pods of the old one do not keep the new one off their nodes.
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end -}}

{{- define "longwave.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "longwave.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Files of secrets and volumes are readable by this group.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Environment of the server's container. CUDA keeps compiled kernels: the root is read-only, and by
default it would keep more than /tmp has room for, for which the pod is evicted. */}}
{{- define "longwave.env" -}}
{{- $env := list -}}
{{- if eq .Values.device "cuda" -}}
{{- $env = concat $env (list (dict "name" "CUDA_CACHE_PATH" "value" "/tmp/cuda") (dict "name" "CUDA_CACHE_MAXSIZE" "value" "67108864")) -}}
{{- end -}}
{{- with concat $env .Values.extraEnv -}}
env:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* For NOTES.txt: who may call. */}}
{{- define "longwave.notesCallers" -}}
{{- if .Values.networkPolicy.enabled }}
  Pods of other namespaces may call if their namespace has the label{{ range .Values.networkPolicy.clientNamespaces }}{{ range $k, $v := . }} {{ $k }}={{ $v }}{{ end }}{{ end }}
{{- end }}
{{- end -}}

{{/* Volumes by which secrets and /tmp come to the server. */}}
{{- define "longwave.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 128Mi
{{- include "longwave.tlsVolumes" . }}
{{- if .Values.tls.clientCASecretName }}
- name: client-ca
  secret:
    secretName: {{ .Values.tls.clientCASecretName | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.tenants.secretName }}
- name: tenants
  secret:
    secretName: {{ .Values.tenants.secretName | quote }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a client in a pod needs: the roots, and with mutual TLS a certificate of its own. */}}
{{- define "longwave.tlsVolumes" -}}
{{- with .Values.tls }}
{{- if .enabled }}
- name: tls
  secret:
    secretName: {{ .secretName | quote }}
    defaultMode: 0440
{{- if .clientCASecretName }}
- name: probe-client
  secret:
    secretName: {{ .probeClientSecretName | quote }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "longwave.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- with .Values.tls }}
{{- if .enabled }}
- name: tls
  mountPath: /etc/longwave/tls
  readOnly: true
{{- if .clientCASecretName }}
- name: client-ca
  mountPath: /etc/longwave/client-ca
  readOnly: true
- name: probe-client
  mountPath: /etc/longwave/probe-client
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.tenants.secretName }}
- name: tenants
  mountPath: /etc/longwave/tenants
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
