/** Walk-through 003: REGISTRY_ONLY, a ServiceEntry, a plaintext gateway; the lines as the page shows them. */
import type { Scenario } from './row.ts'

export const WALK_003: Scenario = {
  title: '003, REGISTRY_ONLY and a plaintext gateway',
  seed: 'seed-003',
  files: ['added.yaml', 'service-entry.yaml', 'gateway.yaml', 'virtual-service.yaml'],
  sites: ['aliyun.com'],
  steps: [
    {
      name: 'the registered host is served, another one gets 502',
      rows: [
        {
          ...{ name: 'registered: 301', from: null, port: 80, hop: 'http', host: 'aliyun.com', reaches: 'plain' },
          request: { method: 'HEAD', path: '/status/301', headers: { 'user-agent': 'curl/7.86.0-DEV' } },
          gets: { status: 301 },
          line: {
            ...{ bytes_received: 0, bytes_sent: 0, upstream_cluster: 'outbound|80||aliyun.com', route_name: null },
            upstream_transport_failure_reason: null,
          },
        },
        {
          ...{ name: 'not registered: 502', from: null, port: 80, hop: 'http', host: 'www.aliyun.com', reaches: null },
          request: { method: 'HEAD' },
          gets: { status: 502, body: '' },
          line: {
            ...{ upstream_cluster: 'BlackHoleCluster', route_name: 'block_all' },
            ...{ response_code_details: 'direct_response', reason: 'not_registered' },
          },
        },
      ],
    },
  ],
}
