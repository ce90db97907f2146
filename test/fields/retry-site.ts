/** One host behind several loopback endpoints, and a VirtualService whose `retries` (or what else) a test is about. */
import type { TestContext } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { destinationRule, documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

export const HOST = 'site.example'

export type RetrySiteOptions = {
  /** Ports of the endpoints, all on 127.0.0.1; with a locality where that matters. */
  readonly endpoints: readonly { readonly port: number; readonly locality?: string }[]
  /** null: the rule says nothing about retries. */
  readonly retries: object | null
  /** More of the rule. */
  readonly rule?: object
  /** `trafficPolicy` of a DestinationRule. Endpoints take turns unless it says otherwise. */
  readonly policy?: object
  /** Labels of the gateway besides its usual ones. */
  readonly labels?: Readonly<Record<string, string>>
}

export type RetrySite = {
  readonly harness: Harness
  readonly get: (options?: RequestOptions) => Promise<Answer>
  /** A counter of the cluster, as `/stats` has it. */
  readonly stat: (name: string) => Promise<number>
}

export async function retrySite(t: TestContext, options: RetrySiteOptions): Promise<RetrySite> {
  const { endpoints, retries, rule = {}, policy = {}, labels = {} } = options
  const spec = {
    endpoints: endpoints.map(({ port, locality }) => ({
      address: '127.0.0.1',
      ports: { p: port },
      ...(locality === undefined ? {} : { locality }),
    })),
  }
  const harness = await started(t, {
    metadata: { labels: { istio: 'egressgateway', app: 'istio-egressgateway', ...labels } },
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('site', HOST, 80, { spec }),
        virtualService('site', [HOST], [{ route: to(HOST), ...(retries === null ? {} : { retries }), ...rule }]),
        destinationRule('site', HOST, { loadBalancer: { simple: 'ROUND_ROBIN' }, ...policy }),
      ),
    },
  })
  const port = harness.gateway.port(80)
  return {
    harness,
    get: async (requestOptions = {}) => {
      const socket = await plainConnect(port)
      try {
        return await request(socket, HOST, requestOptions)
      } finally {
        socket.destroy()
      }
    },
    stat: async (name) => {
      const admin = harness.gateway.control?.admin
      if (admin === undefined) throw new Error('the admin server is not up')
      const text = await (await fetch(`http://127.0.0.1:${admin.port}/stats`)).text()
      const line = text.split('\n').find((each) => each.startsWith(`cluster.outbound|80||${HOST}.${name}: `))
      if (line === undefined) throw new Error(`no ${name} in /stats`)
      return Number(line.slice(line.lastIndexOf(' ') + 1))
    },
  }
}

/** Code, flags and details of the record with this index. */
export async function outcome(site: RetrySite, index = 0): Promise<readonly unknown[]> {
  const line = (await site.harness.lines(index + 1))[index]
  return [line?.['response_code'], line?.['response_flags'], line?.['response_code_details']]
}
