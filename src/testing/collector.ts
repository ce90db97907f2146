/** A collector of spans on loopback: takes OTLP and Zipkin JSON over HTTP, and misbehaves on demand. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

export type CollectedSpan = {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly tags: Readonly<Record<string, string>>
  readonly status: { readonly code?: number }
}

export type Posted = {
  readonly path: string
  readonly headers: http.IncomingHttpHeaders
  readonly body: unknown
}

export type Collector = AsyncDisposable & {
  readonly port: number
  /** Requests so far, whatever was answered. */
  readonly posted: readonly Posted[]
  /** Of the OTLP requests that were answered with 200. */
  readonly spans: readonly CollectedSpan[]
  /** null: does not answer. */
  answer: { readonly status: number; readonly body: string } | null
  close(): Promise<void>
}

type Attribute = { readonly key: string; readonly value: { readonly stringValue: string } }
type Otlp = {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] }
    readonly scopeSpans: readonly {
      readonly spans: readonly (CollectedSpan & { attributes: readonly Attribute[] })[]
    }[]
  }[]
}

/** `port` 0: any. */
export async function startCollector(port = 0): Promise<Collector> {
  const posted: Posted[] = []
  const spans: CollectedSpan[] = []
  const server = http.createServer((req, res) => {
    void text(req).then((body) => {
      const parsed = JSON.parse(body) as unknown
      posted.push({ path: req.url ?? '', headers: req.headers, body: parsed })
      const { answer } = collector
      if (answer === null) return
      if (answer.status === 200 && !Array.isArray(parsed)) spans.push(...spansOf(parsed as Otlp))
      res.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body)
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    server.closeAllConnections()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }
  const collector: Collector = {
    port: (server.address() as AddressInfo).port,
    posted,
    spans,
    answer: { status: 200, body: '{"partialSuccess":{}}' },
    close,
    [Symbol.asyncDispose]: close,
  }
  return collector
}

function spansOf({ resourceSpans }: Otlp): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) =>
      scope.spans.map((span) => ({
        ...span,
        tags: Object.fromEntries(
          [...resource.attributes, ...span.attributes].map(({ key, value }) => [key, value.stringValue]),
        ),
      })),
    ),
  )
}
