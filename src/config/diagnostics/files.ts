/** Diagnostic rows SP1xxx: files, YAML, structure, bootstrap. Numbers are never reused. */
import type { DiagnosticRow } from '../diagnostics.ts'

export const FILE_CODES = {
  SP1000: {
    severity: 'error',
    title: 'Invalid value',
    explanation: 'A value is not allowed here; the message says what is.',
  },
  SP1001: {
    severity: 'error',
    title: 'File cannot be read',
    explanation:
      'A file or directory that the bootstrap names does not exist or cannot be read. A missing file is never taken for an empty one: it may have held a restriction.',
  },
  SP1002: {
    severity: 'error',
    title: 'File is empty',
    explanation:
      'A resource file has no content. Editors and volume mounts leave files empty for a moment; taking that for "no policies" would open the gate. Remove the file to remove its resources.',
  },
  SP1003: {
    severity: 'error',
    title: 'File is too large',
    explanation: 'One configuration file may have 16 MiB. Split it.',
  },
  SP1004: {
    severity: 'error',
    title: 'File is not UTF-8',
    explanation: 'YAML and JSON files are read as UTF-8; this file holds other bytes.',
  },
  SP1005: {
    severity: 'warning',
    title: 'No resources here',
    explanation:
      'A directory holds no *.yaml, *.yml or *.json file, or a file holds only comments. Hidden files and names that begin with two dots are not read.',
  },
  SP1010: {
    severity: 'error',
    title: 'YAML syntax',
    explanation: 'The document cannot be parsed. Tabs cannot indent; a value that contains ": " must be quoted.',
  },
  SP1011: {
    severity: 'error',
    title: 'Duplicate key',
    explanation: 'The same key stands twice in one map. Which of the two is meant cannot be known.',
  },
  SP1012: {
    severity: 'error',
    title: 'Alias refused',
    explanation:
      'An alias points nowhere or at its own parent, a merge key merges something that is not a map, or the aliases of the file expand to more than 50,000 nodes.',
  },
  SP1013: {
    severity: 'warning',
    title: 'Bare yes, no, on, off',
    explanation:
      'Kubernetes reads these bare words as booleans, YAML 1.2 and this gateway as text. Write true or false, or put quotes around the text.',
  },
  SP1014: {
    severity: 'error',
    title: 'Unsupported YAML',
    explanation: 'Keys must be plain words, numbers or quoted text; custom tags are not read.',
  },
  SP1015: {
    severity: 'warning',
    title: 'Number with a leading zero',
    explanation: 'Kubernetes reads a bare number with a leading zero as octal, YAML 1.2 and this gateway as decimal.',
  },
  SP1016: {
    severity: 'error',
    title: 'Nested too deep',
    explanation: 'A document may be nested 100 levels deep.',
  },
  SP1020: {
    severity: 'error',
    title: 'Not a resource',
    explanation: 'A document must be a map with apiVersion, kind and metadata.',
  },
  SP1021: {
    severity: 'info',
    title: 'Kind passed over',
    explanation: 'The gateway has no use for this kind. One line per kind, at the first one found.',
  },
  SP1022: {
    severity: 'warning',
    title: 'Mesh kind not read',
    explanation:
      'This kind belongs to the mesh but is not read by this gateway (EnvoyFilter, WasmPlugin, PeerAuthentication, Sidecar …). If it restricted traffic at the old egress gateway, that restriction is gone: express it with AuthorizationPolicy.',
  },
  SP1023: {
    severity: 'error',
    title: 'Unknown apiVersion or kind',
    explanation:
      'The kind is known, but not in this API group or version; or the kind is a misspelling of one that is known. It is an error because the resource may restrict.',
  },
  SP1024: {
    severity: 'error',
    title: 'Bad metadata',
    explanation: 'The field metadata.name is required; names and namespaces must be valid in Kubernetes.',
  },
  SP1025: {
    severity: 'warning',
    title: 'No namespace',
    explanation: "A resource without metadata.namespace belongs to the gateway's namespace. Write it down.",
  },
  SP1026: {
    severity: 'error',
    title: 'Duplicate resource',
    explanation: 'Two documents have the same kind, namespace and name. Which of the two is meant cannot be known.',
  },
  SP1030: {
    severity: 'error',
    title: 'Unknown key',
    explanation:
      'The schema of this kind has no such key. An error in the bootstrap, in kinds of security.istio.io, istio.alibabacloud.com and sallyport.dev and inside every tls block, because a misspelt restriction would widen access; elsewhere a warning, and the key is passed over.',
  },
  SP1031: {
    severity: 'error',
    title: 'Key spelt twice',
    explanation: 'A field stands in camelCase and in snake_case in the same map. Keep one.',
  },
  SP1032: {
    severity: 'error',
    title: 'Empty value where a restriction may be meant',
    explanation:
      'The key is written but has no value (null). Istio takes that as absent. In AuthorizationPolicy, RequestAuthentication, ASMEgressTrafficPolicy, EgressRateLimit, for tls, match and selector in every kind, and inside them, an absent field means "any", so the gateway refuses to guess: write the value or leave the key out.',
  },
  SP1033: {
    severity: 'error',
    title: 'Required field is missing',
    explanation: 'The resource cannot mean anything without this field.',
  },
  SP1034: {
    severity: 'warning',
    title: 'Field not implemented',
    explanation:
      'The field is valid in Istio, but this gateway does not implement it. An error where ignoring it would widen access and the resource applies to this gateway; otherwise a warning, and the field is passed over. Without a bootstrap file it is always a warning.',
  },
  SP1040: {
    severity: 'error',
    title: 'Not a bootstrap file',
    explanation: 'The bootstrap is exactly one YAML document: apiVersion sallyport.dev/v1, kind EgressGateway.',
  },
  SP1041: {
    severity: 'error',
    title: 'Feature not built yet',
    explanation:
      'The field is part of the bootstrap, but its feature does not exist yet. It is refused rather than silently ignored.',
  },
  SP1042: {
    severity: 'error',
    title: 'Two listeners on one port',
    explanation:
      'Two Gateway ports, or a Gateway port and an admin, metrics or health port, are bound to the same port.',
  },
  SP1043: {
    severity: 'warning',
    title: 'Admin port open to the network',
    explanation:
      'The admin port has no login. Whoever reaches it can read the configuration, close the listeners and end the gateway.',
  },
  SP1090: {
    severity: 'error',
    title: 'Internal error',
    explanation:
      'The configuration made the loader fail in a way it should not. Nothing was changed. Please report it, with the file if you can.',
  },
} as const satisfies Record<string, DiagnosticRow>
