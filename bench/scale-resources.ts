/** Generates resources for the scale benchmark: ServiceEntries and VirtualServices as mesh users write them, many to a file. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export type ScaleSize = { readonly services: number; readonly routes: number }

/** Documents of one file; a mounted directory holds some of each kind. */
const PER_FILE = 100
const TEAMS = 97

/** Hosts with such a number have one endpoint, at the port that is given: those the benchmark asks for. */
export const REACHABLE = { every: 4, first: 1 } as const

export const scaleHost = (index: number): string => `s${index}.team-${index % TEAMS}.example.com`

function endpoints(index: number): string {
  if (index % REACHABLE.every === 0) return '  resolution: DNS\n'
  const address = `${(index >> 8) % 256}.${index % 256}`
  const list =
    index % REACHABLE.every === REACHABLE.first
      ? '    - address: 127.0.0.1\n      labels:\n        version: v1\n'
      : `    - address: 192.0.${address}\n      labels:\n        version: v1\n    - address: 198.18.${address}\n      weight: 2\n`
  return `  resolution: STATIC\n  endpoints:\n${list}`
}

/** One HTTP port, every other time a TLS port too; resolved by DNS, one endpoint, or two. */
function serviceEntry(index: number, originPort: number): string {
  const tls = index % 2 === 1 ? '    - name: tls\n      number: 443\n      protocol: TLS\n' : ''
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: service-${index}
  namespace: team-${index % TEAMS}
  labels:
    app: service-${index}
spec:
  hosts:
    - ${scaleHost(index)}
  location: MESH_EXTERNAL
  ports:
    - name: http
      number: 80
      protocol: HTTP
      targetPort: ${originPort}
${tls}${endpoints(index)}`
}

/** Three rules each: by prefix, by header and method, and for the rest. */
function virtualService(index: number, size: ScaleSize): string {
  const host = scaleHost(index)
  const other = scaleHost((index + 1) % size.services)
  const destination = (name: string) => `        - destination:
            host: ${name}
            port:
              number: 80`
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: route-${index}
  namespace: team-${index % TEAMS}
spec:
  hosts:
    - ${host}
  gateways:
    - istio-system/egress
  http:
    - name: api
      match:
        - uri:
            prefix: /api/v${index % 7}
      route:
${destination(host)}
      timeout: 10s
      retries:
        attempts: 3
        retryOn: 5xx,connect-failure
    - name: canary
      match:
        - headers:
            x-canary:
              exact: "1"
          method:
            exact: GET
      route:
${destination(host)}
          weight: 90
${destination(other)}
          weight: 10
    - name: rest
      route:
${destination(host)}
      headers:
        request:
          set:
            x-team: team-${index % TEAMS}
`
}

const GATEWAY = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: egress
  namespace: istio-system
spec:
  selector:
    istio: egressgateway
  servers:
    - port:
        number: 443
        name: https
        protocol: HTTPS
      tls:
        mode: ISTIO_MUTUAL
      hosts:
        - "*"
`

/** Writes them below `directory`; answers how many bytes of YAML that are. */
export function writeScaleResources(directory: string, size: ScaleSize, originPort: number): number {
  mkdirSync(directory, { recursive: true })
  let bytes = 0
  const write = (name: string, text: string) => {
    bytes += Buffer.byteLength(text)
    writeFileSync(join(directory, `${name}.yaml`), text)
  }
  const writeAll = (name: string, count: number, document: (index: number) => string) => {
    for (let start = 0; start < count; start += PER_FILE) {
      const length = Math.min(PER_FILE, count - start)
      const documents = Array.from({ length }, (_, i) => document(start + i))
      write(`${name}-${String(start).padStart(6, '0')}`, documents.join('---\n'))
    }
  }
  write('gateway', GATEWAY)
  writeAll('services', size.services, (index) => serviceEntry(index, originPort))
  writeAll('routes', size.routes, (index) => virtualService(index, size))
  return bytes
}
