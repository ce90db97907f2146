/** Resources for tests of tunnels in the configuration, and a short form of what they give. */
import { assemble } from '../config/assemble.ts'
import { asmEgressTrafficPolicy } from '../config/kinds/asm-egress-traffic-policy.ts'
import { gateway } from '../config/kinds/gateway.ts'
import { serviceEntry } from '../config/kinds/service-entry.ts'
import { virtualService } from '../config/kinds/virtual-service.ts'
import { collectDiagnostics } from '../config/report.ts'
import type { Resource } from '../config/resource.ts'
import type { Settings } from '../model/settings.ts'
import type { TunnelRouteModel } from '../model/tunnel.ts'
import { findings, testResource, testSettings } from './resources.ts'

const NS = 'istio-system'
const MUTUAL = { mode: 'ISTIO_MUTUAL' }

/** One server per Gateway; `tls` null: plaintext. Its port is called `p`. */
export function tunnelGateway(
  name: string,
  number: number,
  hosts: readonly string[],
  tls: Readonly<Record<string, unknown>> | null = MUTUAL,
  protocol = tls === null ? 'TCP' : 'TLS',
): Resource {
  const server = { hosts, port: { number, name: 'p', protocol }, ...(tls === null ? {} : { tls }) }
  return testResource(gateway, { name, namespace: NS }, { servers: [server] })
}

/** A VirtualService of the gateway's namespace, bound to Gateway `g` unless `spec` says otherwise. */
export function tunnelService(name: string, spec: Readonly<Record<string, unknown>>): Resource {
  return testResource(virtualService, { name, namespace: NS }, { gateways: ['g'], ...spec })
}

/** Destinations of a `tls` or `tcp` rule: `host:port` or `host:port@weight`. */
export function toHosts(...texts: readonly string[]): readonly object[] {
  return texts.map((text) => {
    const [target = '', weight] = text.split('@')
    const [host = '', port] = target.split(':')
    return {
      destination: { host, ...(port === undefined ? {} : { port: { number: Number(port) } }) },
      ...(weight === undefined ? {} : { weight: Number(weight) }),
    }
  })
}

/** One ServiceEntry for several hosts, all with TLS on 443 and HTTP on 80. */
export function tunnelEntry(hosts: readonly string[], spec: Readonly<Record<string, unknown>> = {}): Resource {
  const ports = [
    { number: 443, name: 'tls', protocol: 'TLS' },
    { number: 80, name: 'http', protocol: 'HTTP' },
  ]
  return testResource(
    serviceEntry,
    { name: `se-${hosts[0]}`, namespace: NS },
    { hosts, ports, resolution: 'DNS', ...spec },
  )
}

/** One ASMEgressTrafficPolicy with one `to`; `from` is a namespace. HTTP is on 80, everything else on 443. */
export function tunnelPolicy(
  name: string,
  from: string,
  hosts: readonly string[],
  gatewayPort: number,
  protocol: 'HTTP' | 'HTTPS' | 'TLS' = 'HTTPS',
  externalPort = protocol === 'HTTP' ? 80 : 443,
): Resource {
  const to = {
    name,
    hosts,
    port: { name: 'p', number: externalPort, protocol },
    byEgressGateway: { port: gatewayPort },
  }
  return testResource(
    asmEgressTrafficPolicy,
    { name, namespace: 'istio-egress' },
    { byEgressGateway: { name: 'egressgateway' }, egressRules: [{ from: [{ namespace: from }], to: [to] }] },
  )
}

function routeText(route: TunnelRouteModel | null): string | null {
  if (route === null) return null
  return route.destinations.map(({ cluster, weight }) => (weight === 1 ? cluster : `${cluster}@${weight}`)).join(' ')
}

/** What was assembled, short enough to compare as a whole. Without ASM's advice on names. */
export function assembleTunnels(resources: readonly Resource[], overrides: Partial<Settings> = {}) {
  const collector = collectDiagnostics()
  const model = assemble(testSettings(overrides), resources, collector.report)
  const codes = findings(collector).filter((each) => !each.startsWith('SP6005'))
  return {
    model,
    codes,
    /** `NAME application mode [hosts] table` of every server of a port. */
    servers: (gatewayPort: number) =>
      model?.listeners
        .find((each) => each.gatewayPort === gatewayPort)
        ?.servers.map(
          ({ name, application, tls, sniHosts, tunnelTable }) =>
            `${name} ${application} ${tls?.mode ?? 'plain'} [${sniHosts.join(' ')}] ${tunnelTable}`,
        ) ?? null,
    /** SNI → [namespaces that may, in order, or null for all; its route or null], and the `tcp` route. */
    table: (name: string) => {
      const table = model?.tunnelTables.find((each) => each.name === name)
      if (table === undefined) return null
      const hosts = table.hosts.map(({ host, grants, route }) => [
        host,
        [grants?.flatMap(({ callers }) => callers.map(({ namespace }) => namespace)) ?? null, routeText(route)],
      ])
      const { tcp } = table
      return { hosts: Object.fromEntries(hosts), tcp: tcp === null ? null : [routeText(tcp), tcp.hosts] }
    },
  }
}
