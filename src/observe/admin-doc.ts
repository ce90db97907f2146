/** docs/admin.md, written from the table of endpoints. */
import { ADMIN_ENDPOINTS } from './admin.ts'

const INTRO = `# Admin, metrics and health

<!-- Written by \`npm run docs\` from src/observe/admin.ts. Do not edit. -->

## The admin port (\`spec.admin\`, default 127.0.0.1:15000)

There is no login: leave it on loopback. Requests with an \`Origin\` header, or whose \`Host\` is a name other than
\`localhost\`, get 403, so that no web page can make a browser use it. A wrong method gets 405, an unknown path 404 and
the list below. \`HEAD\` is taken wherever \`GET\` is.

| method | path | what |
|---|---|---|`

const REST = `
- \`/\` is for people: open it in a browser, from afar through \`kubectl port-forward\`. It follows what happens every two seconds, loads
  nothing from elsewhere, and shows of a request no query and no header but the host. The last 50 requests and tunnels are
  kept in memory for it. \`/status.json\` has the same and does not shorten.
- \`/stats\` prints Envoy's text form, one \`name: value\` a line, sorted, as
  \`cluster.outbound|443||edition.cnn.com.upstream_cx_total: 2\`. [metrics.md](metrics.md) names them all.
- \`/drain_listeners\` cannot be taken back: the ports stay closed, also after a reload, and readiness fails.
- Keys, tokens and passwords are taken out of \`/config_dump\`.

## The metrics port (\`spec.metrics\`, default 0.0.0.0:15090)

\`GET /stats/prometheus\`, the same as on the admin port; nothing else is served there.

## The health port (\`spec.health\`, default 0.0.0.0:15021)

\`GET /healthz/ready\`: 200 \`ready\` once a configuration is active and its listeners are bound. A rejected reload does not
change that. 503 \`not ready\` before, while draining, after \`/drain_listeners\`, and between \`/healthcheck/fail\` and
\`/healthcheck/ok\`.
`

const cell = (text: string) => text.replaceAll('|', '\\|')

/** The whole Markdown file. */
export function renderAdminDoc(): string {
  const rows = ADMIN_ENDPOINTS.map(({ method, path, help }) => `| ${method} | \`${path}\` | ${cell(help)} |`)
  return `${INTRO}\n${rows.join('\n')}\n${REST}`
}
