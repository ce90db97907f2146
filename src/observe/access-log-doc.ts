/** docs/access-log.md, written from the tables of formats, operators and attributes. */
import { CEL_ATTRIBUTES } from '../core/cel/attributes.ts'
import { DEFAULT_JSON, DEFAULT_TEXT } from './access-log/defaults.ts'
import { OPERATORS, type OperatorRow } from './access-log/operators.ts'

const cell = (text: string) => text.replaceAll('|', '\\|')
const ARGUMENTS = { none: '', optional: '`(…)` optional', required: '`(…)`' } as const

function operatorRows(noData: boolean): string {
  return Object.entries<OperatorRow>(OPERATORS)
    .filter(([, row]) => (row.noData === true) === noData)
    .map(([name, { argument, help }]) =>
      noData ? `\`${name}\`` : `| \`${name}\` | ${ARGUMENTS[argument]} | ${cell(help)} |`,
    )
    .join(noData ? ', ' : '\n')
}

type Row = { readonly type: string; readonly help: string; readonly noData?: true }

function attributeRows(noData: boolean): string {
  return Object.entries<Row>(CEL_ATTRIBUTES)
    .filter(([, row]) => (row.noData === true) === noData)
    .map(([name, { type, help }]) => (noData ? `\`${name}\`` : `| \`${name}\` | ${type} | ${cell(help)} |`))
    .join(noData ? ', ' : '\n')
}

const defaults = Object.entries(DEFAULT_JSON)
  .map(([field, operator]) => `| \`${field}\` | \`${operator}\` |`)
  .join('\n')

/** The whole Markdown file. */
export function renderAccessLogDoc(): string {
  return `# Access log

<!-- Written by \`npm run docs\` from src/observe/access-log and src/core/cel/attributes.ts. Do not edit. -->

One line per request or tunnel, always exactly one, written within 200 ms of its end. A connection that was refused before it
sent a request has one too. Nothing waits for the reader: when 8 MB are waiting, lines are dropped and counted in
\`sallyport_access_log_dropped_total\`. What must never be lost belongs into the audit stream.

## Where lines go

| | |
|---|---|
| \`spec.meshConfig.accessLogFile\` | \`/dev/stdout\` by default; \`""\` turns the log off |
| \`spec.meshConfig.accessLogEncoding\` | \`JSON\` (default) or \`TEXT\` |
| \`spec.meshConfig.accessLogFormat\` | operators; for JSON the text of an object, which may hold objects and lists. Empty: the default |
| \`spec.accessLog.jsonStyle\` | \`typed\` (default): numbers are numbers, what is missing is \`null\`. \`strings\`: every value is text, what is missing is \`"-"\`, as in older Istio |
| \`spec.meshConfig.extensionProviders\` | further files, \`envoyFileAccessLog\`: \`path\` (absolute; default \`/dev/stdout\`), \`logFormat.text\` or \`logFormat.labels\` (default: Istio’s text), \`omitEmptyValues\` |
| \`spec.meshConfig.defaultProviders.accessLogging\` | names of providers that take the place of \`accessLogFile\` |
| \`Telemetry\` | \`accessLogging\` of the root namespace, over which goes that of the gateway’s namespace, over which goes that whose \`selector\` is the gateway |

\`\`\`yaml
spec:
  meshConfig:
    accessLogFormat: '{"code":"%RESPONSE_CODE%","who":"%DOWNSTREAM_PEER_URI_SAN%","to":{"host":"%REQ(:AUTHORITY)%","ip":"%UPSTREAM_HOST%"}}'
    extensionProviders:
      - name: errors
        envoyFileAccessLog:
          path: /var/log/sallyport/errors.log
          logFormat: { labels: { code: "%RESPONSE_CODE%", agent: "%REQ(USER-AGENT):80%" } }
          omitEmptyValues: true
\`\`\`

### Telemetry

\`\`\`yaml
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: egress-logs, namespace: istio-system }
spec:
  selector: { matchLabels: { istio: egressgateway } }
  accessLogging:
    - providers: [{ name: errors }]
      filter: { expression: "response.code >= 400 || xds.cluster_name == 'BlackHoleCluster'" }
    - providers: [{ name: envoy }]
\`\`\`

As in Istio: the closest scope that names \`providers\` decides which there are; several are several destinations; a filter is
inherited until a closer scope writes another; \`match.mode: SERVER\` is for others, a gateway is a client; \`envoy\` is there
without being configured and writes meshConfig’s format to stdout. Where it differs, no line is lost for it:

- A filter that **cannot be evaluated writes the line** (Envoy drops it). A tunnel has no \`response.code\`, so \`response.code >= 400\`
  also writes tunnels; \`has(response.code) && response.code >= 400\` does not.
- \`disabled: true\` or a \`filter\` without \`providers\` speaks for \`accessLogFile\` where meshConfig has no default providers. When no
  log is left, the load says so (SP8402). Metrics and the audit stream do not ask Telemetry’s \`accessLogging\`.
- A provider that does not exist is a warning (SP8403); where none is left, lines go to \`accessLogFile\`.
- An expression that cannot be compiled is an error with its column (SP8401), and the last good configuration stays.

## Default formats

JSON, in this order; the first 24 are Istio’s.

| field | operator |
|---|---|
${defaults}

TEXT is Istio’s, in one line:

\`\`\`
${DEFAULT_TEXT}
\`\`\`

The lines that the ASM walk-throughs print (a flat object of strings, with \`istio_policy_status\`) come from
\`jsonStyle: strings\`, \`"istio_policy_status":"%DYNAMIC_METADATA(istio.mixer:status)%"\` and the other fields as above:
[test/scenarios/seed-log-lines.test.ts](../test/scenarios/seed-log-lines.test.ts).

## Operators

\`%NAME%\`, \`%NAME(argument)%\`, \`%NAME(argument):LENGTH%\` (at most so many bytes), \`%%\` is a percent sign. In JSON a value that
is one operator keeps its type; a longer text is text, in which what is missing is \`-\` (with \`omitEmptyValues\` nothing). An
operator that is not listed is an error with its column. Values are escaped: whatever bytes a caller sends, one line stays one line.

Times take strftime’s \`%Y %m %d %e %H %I %M %S %p %j %a %A %b %B %y %u %w %T %R %F %D %z %Z\`, \`%s\` (seconds since 1970), \`%3f %6f %9f\` (fractions) and
\`%E3S\` (seconds with a fraction); always UTC. \`REQ(X?Y)\` is X, or Y where X is missing.

| operator | argument | |
|---|---|---|
${operatorRows(false)}

Envoy knows these, this gateway has no value for them; they are \`null\`, so that formats written for Istio load unchanged:
${operatorRows(true)}.

## Expressions

\`filter.expression\`, tags of metrics (\`tagOverrides.*.value\`) and \`%CEL(…)%\` are written in the Common Expression Language: literals,
\`! && || ?:\`, \`== != < <= > >=\`, \`in\`, \`+ - * / %\`, \`has(request.headers.name)\`, \`startsWith endsWith contains matches size\`, \`string int double
duration timestamp\`. \`matches\` is RE2 and takes a literal. Types are checked at load. Macros (\`all\`, \`exists\` …) and map literals are errors.

| attribute | type | |
|---|---|---|
${attributeRows(false)}

Envoy knows these, this gateway has no value for them (a warning, SP8405): ${attributeRows(true)}. \`filter_state\`, \`metadata\`,
\`xds.node\` and the like are errors. \`request.*\` and \`response.*\` (but for \`response.flags\`) are missing in tunnels.

## Cost

\`bin/sallyport-node bench/access-log.ts\` prints what a line costs, \`npm run bench -- W8\` what a request costs with each log. A log
that is off costs nothing, and a filter is asked before the line is made.
`
}
