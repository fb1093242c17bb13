{{/* What a schema cannot see: values that do not fit together. All problems at once, each with its
field, so that a refused upgrade is refused once. */}}
{{- define "longwave.check" -}}
{{- $v := .Values -}}
{{- $problems := list -}}
{{- $deployment := eq $v.mode "deployment" -}}

{{- /* Name: a Service's begins with a letter. */ -}}
{{- $name := include "longwave.fullname" . -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- $problems = append $problems (printf "fullnameOverride: needed, since %s, of release and chart, does not begin with a letter" $name) -}}
{{- end -}}
{{- if gt (len $name) (include "longwave.nameRoom" . | int) -}}
{{- $problems = append $problems (printf "fullnameOverride: %s is longer than %s characters, and mode: kserve would cut it in the names of pods" $name (include "longwave.nameRoom" .)) -}}
{{- end -}}

{{- /* Device. */ -}}
{{- if and (eq $v.device "cpu") (ne $v.server.computeDtype "fp32") -}}
{{- $problems = append $problems (printf "server.computeDtype: %s needs device: cuda" $v.server.computeDtype) -}}
{{- end -}}

{{- /* Memory. */ -}}
{{- $limit := include "longwave.bytes" $v.resources.limits.memory | int64 -}}
{{- $fixed := include "longwave.fixedBytes" . | int64 -}}
{{- $least := mul 256 1048576 -}}
{{- if eq $v.device "cuda" -}}
{{- if gt $fixed $limit -}}
{{- $problems = append $problems (printf "resources.limits.memory: %s is less than memory.base + 3 x memory.weights + memory.host + memory.transport + memory.receiving = %s" $v.resources.limits.memory (include "longwave.mebibytes" $fixed)) -}}
{{- end -}}
{{- end -}}
{{- $room := include "longwave.roomBytes" . | int64 -}}
{{- $resident := include "longwave.residentBytes" . | int64 -}}
{{- if and (eq $v.device "cuda") (not $v.gpu.memory) -}}
{{- if not $v.memory.resident -}}
{{- $problems = append $problems "memory.resident: with device: cuda it, or gpu.memory from which it is computed, must be set" -}}
{{- end -}}
{{- else if lt $room $least -}}
{{- if eq $v.device "cuda" -}}
{{- $problems = append $problems (printf "gpu.memory: %s leaves less than 256Mi for started work beside 2 x memory.weights" $v.gpu.memory) -}}
{{- else -}}
{{- $problems = append $problems (printf "resources.limits.memory: %s leaves less than 256Mi for started work beside memory.base + 3 x memory.weights + memory.host + memory.transport + memory.receiving = %s" $v.resources.limits.memory (include "longwave.mebibytes" $fixed)) -}}
{{- end -}}
{{- else if gt $resident $room -}}
{{- $problems = append $problems (printf "memory.resident: %s is more than the %s that %s leaves" $v.memory.resident (include "longwave.mebibytes" $room) (ternary "gpu.memory" "resources.limits.memory" (eq $v.device "cuda"))) -}}
{{- end -}}
{{- if lt (include "longwave.bytes" $v.memory.transport | int64) (mul 64 1048576) -}}
{{- $problems = append $problems (printf "memory.transport: %s is less than 64Mi, the least that the server takes" $v.memory.transport) -}}
{{- end -}}
{{- if gt (int $v.resources.requests.cpu) (int $v.resources.limits.cpu) -}}
{{- $problems = append $problems (printf "resources.requests.cpu: %d is more than resources.limits.cpu: %d" (int $v.resources.requests.cpu) (int $v.resources.limits.cpu)) -}}
{{- end -}}
{{- if and $v.resources.requests.memory (gt (include "longwave.bytes" $v.resources.requests.memory | int64) $limit) -}}
{{- $problems = append $problems (printf "resources.requests.memory: %s is more than resources.limits.memory: %s" $v.resources.requests.memory $v.resources.limits.memory) -}}
{{- end -}}

{{- /* Disk: /tmp, the log, and fetched weights. */ -}}
{{- $disk := mul 192 1048576 -}}
{{- $fetched := and $deployment (eq $v.model.source "initContainer") -}}
{{- if $fetched -}}
{{- $disk = add $disk (include "longwave.bytes" $v.model.initContainer.sizeLimit | int64) -}}
{{- if lt (include "longwave.bytes" $v.model.initContainer.sizeLimit | int64) (include "longwave.bytes" $v.memory.weights | int64) -}}
{{- $problems = append $problems (printf "model.initContainer.sizeLimit: %s is less than memory.weights: %s" $v.model.initContainer.sizeLimit $v.memory.weights) -}}
{{- end -}}
{{- end -}}
{{- if lt (include "longwave.bytes" (index $v.resources.limits "ephemeral-storage") | int64) $disk -}}
{{- $problems = append $problems (printf "resources.limits.ephemeral-storage: %s is less than 128Mi for /tmp + 64Mi for the log%s = %s; the pod would be evicted" (index $v.resources.limits "ephemeral-storage") (ternary " + model.initContainer.sizeLimit" "" $fetched) (include "longwave.mebibytes" $disk)) -}}
{{- end -}}

{{- /* Model. KServe has a way of its own. */ -}}
{{- $source := $v.model.source -}}
{{- if $deployment -}}
{{- if and (eq $source "imageVolume") (not $v.model.imageVolume.reference) -}}
{{- $problems = append $problems "model.imageVolume.reference: needed with model.source: imageVolume" -}}
{{- end -}}
{{- if and (eq $source "imageVolume") (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $problems = append $problems (printf "model.source: imageVolume needs Kubernetes >= 1.33, this is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (eq $source "pvc") (not $v.model.pvc.claimName) -}}
{{- $problems = append $problems "model.pvc.claimName: needed with model.source: pvc" -}}
{{- end -}}
{{- if eq $source "initContainer" -}}
{{- if not $v.model.initContainer.image -}}
{{- $problems = append $problems "model.initContainer.image: needed with model.source: initContainer" -}}
{{- end -}}
{{- if not $v.model.initContainer.reference -}}
{{- $problems = append $problems "model.initContainer.reference: needed with model.source: initContainer" -}}
{{- end -}}
{{- if not $v.model.initContainer.sha256 -}}
{{- $problems = append $problems "model.initContainer.sha256: the sums of the model's files are needed with model.source: initContainer" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.extraEgress) -}}
{{- $problems = append $problems "networkPolicy.extraEgress: model.source: initContainer needs a rule that lets pods reach the registry" -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if and $v.kserve.inferenceService.enabled (not $v.kserve.inferenceService.storageUri) -}}
{{- $problems = append $problems "kserve.inferenceService.storageUri: needed with kserve.inferenceService.enabled" -}}
{{- end -}}
{{- $uri := $v.kserve.inferenceService.storageUri -}}
{{- if and $uri $v.networkPolicy.enabled (not $v.networkPolicy.extraEgress) (not (regexMatch "^(oci|oci\\+native|pvc)://" $uri)) -}}
{{- $problems = append $problems (printf "networkPolicy.extraEgress: %s needs a rule that lets pods reach the storage" $uri) -}}
{{- end -}}
{{- if $v.tls.enabled -}}
{{- $problems = append $problems "tls.enabled: KServe's router speaks plaintext to pods; let a mesh encrypt with mode: kserve" -}}
{{- end -}}
{{- if ne $source "image" -}}
{{- $problems = append $problems (printf "model.source: %s has no meaning with mode: kserve; the model comes from kserve.inferenceService.storageUri" $source) -}}
{{- end -}}
{{- range $name, $on := dict "gateway.enabled" $v.gateway.enabled "inferencePool.enabled" $v.inferencePool.enabled "monitoring.serviceMonitor" $v.monitoring.serviceMonitor "autoscaling.kind" (ne $v.autoscaling.kind "none") -}}
{{- if $on -}}
{{- $problems = append $problems (printf "%s: needs mode: deployment" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Who may connect. */ -}}
{{- if $v.tls.enabled -}}
{{- if not $v.tls.secretName -}}
{{- $problems = append $problems "tls.secretName: needed with tls.enabled" -}}
{{- end -}}
{{- if and $v.tls.clientCASecretName (not $v.tls.probeClientSecretName) -}}
{{- $problems = append $problems "tls.probeClientSecretName: with tls.clientCASecretName probes need a client's certificate" -}}
{{- end -}}
{{- else if or $v.tls.clientCASecretName $v.tls.secretName -}}
{{- $problems = append $problems "tls.enabled: false, but tls.secretName or tls.clientCASecretName is set" -}}
{{- end -}}

{{- /* Drain. */ -}}
{{- $sum := include "longwave.drainSeconds" . | int -}}
{{- $whole := int $v.drain.terminationGracePeriodSeconds -}}
{{- if and $whole (lt $whole $sum) -}}
{{- $problems = append $problems (printf "drain.terminationGracePeriodSeconds: %d is less than preStopSeconds + drainDelaySeconds + graceSeconds + 5 = %d; calls would be cut off" $whole $sum) -}}
{{- end -}}
{{- if gt (int $v.server.maxDeadlineSeconds) (int $v.drain.graceSeconds) -}}
{{- $problems = append $problems (printf "server.maxDeadlineSeconds: %d is more than drain.graceSeconds: %d; a shutdown would cut off unary calls" (int $v.server.maxDeadlineSeconds) (int $v.drain.graceSeconds)) -}}
{{- end -}}
{{- if lt (add $v.drain.preStopSeconds $v.drain.drainDelaySeconds | int) (int $v.probes.readiness.periodSeconds) -}}
{{- $problems = append $problems (printf "drain.drainDelaySeconds: %d and preStopSeconds: %d are shorter than probes.readiness.periodSeconds: %d; calls would end before balancers look" (int $v.drain.drainDelaySeconds) (int $v.drain.preStopSeconds) (int $v.probes.readiness.periodSeconds)) -}}
{{- end -}}
{{- $owned := splitList " " (include "longwave.ownedFlags" .) -}}
{{- $seen := list -}}
{{- range $v.extraArgs -}}
{{- /* As the server reads them: dashes for underscores, and --no- for switches. */ -}}
{{- $name := . | trimPrefix "--" | regexFind "^[A-Za-z0-9_-]+" | replace "-" "_" -}}
{{- $bare := trimPrefix "no_" $name -}}
{{- if or (has $name $owned) (has $bare $owned) -}}
{{- $problems = append $problems (printf "extraArgs: %s is set by the chart; use its value" .) -}}
{{- end -}}
{{- if has $bare $seen -}}
{{- $problems = append $problems (printf "extraArgs: %s is given twice" .) -}}
{{- end -}}
{{- $seen = append $seen $bare -}}
{{- end -}}

{{- /* Numbers of pods. */ -}}
{{- if and (or (ne $v.autoscaling.kind "none") (not $deployment)) (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- $problems = append $problems (printf "autoscaling.maxReplicas: %d is less than autoscaling.minReplicas: %d" (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
{{- end -}}
{{- if or $deployment $v.kserve.inferenceService.enabled -}}
{{- $least := include "longwave.leastPods" . | int -}}
{{- $count := ternary "replicaCount" "autoscaling.minReplicas" (and $deployment (eq $v.autoscaling.kind "none")) -}}
{{- if and $v.pdb.enabled (le $least (int $v.pdb.maxUnavailable)) -}}
{{- $problems = append $problems (printf "pdb.maxUnavailable: %d of %s: %d would let all pods be evicted at once; more pods, or pdb.enabled: false" (int $v.pdb.maxUnavailable) $count $least) -}}
{{- end -}}
{{- if and (eq (int $v.rollout.maxSurge) 0) (eq (int $v.rollout.maxUnavailable) 0) -}}
{{- $problems = append $problems "rollout.maxSurge: 0 with rollout.maxUnavailable: 0 could never roll out" -}}
{{- end -}}
{{- /* A single pod that has no room beside it must go before the next one comes. */ -}}
{{- if and (ge (int $v.rollout.maxUnavailable) $least) (or (gt $least 1) (gt (int $v.rollout.maxUnavailable) 1) (gt (int $v.rollout.maxSurge) 0)) -}}
{{- $problems = append $problems (printf "rollout.maxUnavailable: %d of %s: %d would let a rollout take all pods at once" (int $v.rollout.maxUnavailable) $count $least) -}}
{{- end -}}
{{- end -}}
{{- if $deployment -}}
{{- if and (ne $v.autoscaling.kind "none") (ge (divf $v.autoscaling.targetWaitMilliseconds 1000) (float64 $v.server.maxWaitSeconds)) -}}
{{- $problems = append $problems (printf "autoscaling.targetWaitMilliseconds: %d is not below server.maxWaitSeconds: %v, above which calls are refused" (int $v.autoscaling.targetWaitMilliseconds) $v.server.maxWaitSeconds) -}}
{{- end -}}
{{- if and (eq $v.autoscaling.kind "keda") (not $v.autoscaling.keda.prometheusAddress) -}}
{{- $problems = append $problems "autoscaling.keda.prometheusAddress: needed with autoscaling.kind: keda" -}}
{{- end -}}
{{- $steps := "probes.startup.maxSeconds + rollout.minReadySeconds" -}}
{{- $seconds := add $v.probes.startup.maxSeconds $v.rollout.minReadySeconds | int -}}
{{- /* Without surge the new pod waits for the old one's end. */ -}}
{{- if eq (int $v.rollout.maxSurge) 0 -}}
{{- $steps = printf "%s + terminationGracePeriodSeconds" $steps -}}
{{- $seconds = add $seconds (include "longwave.terminationGracePeriod" . | int) | int -}}
{{- end -}}
{{- if le (int $v.rollout.progressDeadlineSeconds) $seconds -}}
{{- $problems = append $problems (printf "rollout.progressDeadlineSeconds: %d is not greater than %s = %d" (int $v.rollout.progressDeadlineSeconds) $steps $seconds) -}}
{{- end -}}

{{- /* Gateways and monitors. */ -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
{{- $problems = append $problems "gateway.parentRefs: a gateway is needed with gateway.enabled" -}}
{{- end -}}
{{- if and $v.gateway.enabled $v.tls.enabled (not $v.gateway.backendCAConfigMap) -}}
{{- $problems = append $problems "gateway.backendCAConfigMap: needed with tls.enabled, so that the gateway speaks TLS to pods" -}}
{{- end -}}
{{- if and $v.gateway.enabled $v.tls.clientCASecretName -}}
{{- $problems = append $problems "tls.clientCASecretName: with gateway.enabled no call could come through, since a BackendTLSPolicy has no client certificate" -}}
{{- end -}}
{{- if and $v.inferencePool.enabled $v.tls.enabled -}}
{{- $problems = append $problems "inferencePool.enabled: gateways speak plaintext to a pool, and tls.enabled serves TLS alone (a BackendTLSPolicy is for Services)" -}}
{{- end -}}
{{- if and $v.gateway.envoy.enabled (not $v.gateway.enabled) -}}
{{- $problems = append $problems "gateway.envoy.enabled: needs gateway.enabled" -}}
{{- end -}}
{{- if and $v.inferencePool.enabled (not $v.inferencePool.endpointPicker) -}}
{{- $problems = append $problems "inferencePool.endpointPicker: needed with inferencePool.enabled" -}}
{{- end -}}
{{- if and $v.monitoring.podMonitor $v.monitoring.serviceMonitor -}}
{{- $problems = append $problems "monitoring.serviceMonitor: with monitoring.podMonitor every pod would be scraped twice" -}}
{{- end -}}
{{- if and $v.monitoring.prometheusRule (ne $v.autoscaling.kind "none") (not (contains "longwave" (include "longwave.fullname" .))) -}}
{{- $problems = append $problems (printf "%s: the alerts know autoscalers by 'longwave' in their names, which %s has not; other name, or monitoring.prometheusRule: false" (ternary "fullnameOverride" "nameOverride" (ne $v.fullnameOverride "")) (include "longwave.fullname" .)) -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor (not $v.service.headless) -}}
{{- $problems = append $problems "monitoring.serviceMonitor: needs service.headless, which has the port" -}}
{{- end -}}
{{- end -}}

{{- if $problems -}}
{{- fail (printf "these values do not fit together:\n  - %s" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
