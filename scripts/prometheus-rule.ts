/** observability/rules.yaml, which any Prometheus reads, as the object that the Prometheus operator reads. */
import { readFileSync } from 'node:fs'

const RULES = new URL('../observability/rules.yaml', import.meta.url)

const HEAD = `# Made from observability/rules.yaml by \`npm run docs\`; edit it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: istio-egressgateway
  namespace: istio-egress
  labels:
    app: istio-egressgateway # kube-prometheus-stack selects by \`release: NAME\` unless told otherwise
spec:
`

/**
 * The rules' text below `spec`, comments and all: both hold `groups`. Text, not a parsed tree, so that a reader finds the same lines.
 * @throws when the file's top level is not `groups` alone
 */
export function renderPrometheusRule(): string {
  const lines = readFileSync(RULES, 'utf8').split('\n')
  const from = lines.indexOf('groups:')
  const others = lines.filter((line, index) => index !== from && line !== '' && !/^[\s#]/.test(line))
  if (from === -1 || others.length > 0) throw new Error(`rules.yaml: expected groups alone, found ${others.join(', ')}`)
  return HEAD + lines.slice(from).map(indented).join('\n')
}

const indented = (line: string) => (line === '' ? '' : `  ${line}`)
