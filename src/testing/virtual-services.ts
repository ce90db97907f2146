/** VirtualServices, a Gateway and a ServiceEntry, lowered to route tables: for tests of config/virtual-service*.ts. */
import { bindGateways } from '../config/gateways.ts'
import { gateway } from '../config/kinds/gateway.ts'
import { serviceEntry } from '../config/kinds/service-entry.ts'
import { virtualService } from '../config/kinds/virtual-service.ts'
import { collectDiagnostics } from '../config/report.ts'
import type { Resource } from '../config/resource.ts'
import { buildServices } from '../config/services.ts'
import { bindVirtualServices } from '../config/virtual-services.ts'
import type { RouteModel } from '../model/route.ts'
import { findings, testResource, testSettings } from './resources.ts'

export const NS = 'istio-system'

export function server(
  hosts: string[],
  tls?: Record<string, unknown>,
  number = 80,
  name = 'http',
): Record<string, unknown> {
  const protocol = tls === undefined || 'httpsRedirect' in tls ? 'HTTP' : 'HTTPS'
  return { hosts, port: { number, name, protocol }, ...(tls === undefined ? {} : { tls }) }
}

/** The Gateway `istio-system/gw`. */
export function gw(servers: Record<string, unknown>[], name = 'gw'): Resource {
  return testResource(gateway, { name, namespace: NS }, { servers }) as Resource
}

/** Bound to `istio-system/gw` unless `spec` says otherwise. */
export function vs(name: string, spec: Record<string, unknown>, namespace = NS): Resource {
  return testResource(virtualService, { name, namespace }, { gateways: [`${NS}/gw`], ...spec }) as Resource
}

const entry = testResource(
  serviceEntry,
  { name: 'se', namespace: NS },
  {
    hosts: ['a.com', 'b.com'],
    ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
    location: 'MESH_EXTERNAL',
    resolution: 'DNS',
  },
) as Resource

/** A rule named `name` that forwards to a.com. */
export const rule = (name: string, ...match: Record<string, unknown>[]): Record<string, unknown> => ({
  name,
  ...(match.length === 0 ? {} : { match }),
  route: [{ destination: { host: 'a.com', port: { number: 80 } } }],
})

export function run(...resources: Resource[]) {
  const collector = collectDiagnostics()
  const settings = testSettings()
  const all = [...resources, entry]
  const services = buildServices(settings, all, collector.report)
  const tables = bindVirtualServices(
    settings,
    all,
    bindGateways(settings, all, collector.report),
    services,
    collector.report,
  )
  const hosts = (table = 'http.80') =>
    Object.fromEntries(
      [...(tables.get(table) ?? new Map())].map(([host, { routes }]) => [
        host,
        routes?.map((route: RouteModel) => route.name) ?? null,
      ]),
    )
  const routes = (host: string, table = 'http.80'): readonly RouteModel[] => tables.get(table)?.get(host)?.routes ?? []
  return { tables, hosts, routes, findings: findings(collector) }
}

/** The one route of one rule on a.com, in namespace `team`; findings below the rule. */
export function lowerRule(http: Record<string, unknown>, ...more: Resource[]) {
  const result = run(gw([server(['*'])]), vs('v', { hosts: ['a.com'], http: [http] }, 'team'), ...more)
  return {
    route: result.routes('a.com')[0],
    findings: result.findings.map((each) => each.replace('VirtualService/team/v:spec.http.0.', '')),
  }
}
