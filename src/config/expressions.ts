/** CEL expressions in resources: checked here, compiled where they are evaluated (observe/cel-attributes.ts). */
import type { SourceRef } from '../core/attributes.ts'
import { celAttribute } from '../core/cel/attributes.ts'
import { CelError } from '../core/cel/error.ts'
import type { CelNode } from '../core/cel/node.ts'
import { parseCel } from '../core/cel/parse.ts'
import type { Report } from './resource.ts'

/**
 * Reports what cannot be compiled (SP8401), and attributes that never have a value here (SP8405). A filter is a truth
 * value, a tag anything that can be printed. False: there was an error.
 */
export function checkExpression(text: string, use: 'filter' | 'tag', at: SourceRef, report: Report): boolean {
  try {
    const node = parseCel(text)
    if (use === 'filter' && node.type !== 'bool')
      throw new CelError(`a filter must be true or false, this is ${node.type}`, node.at)
    if (use === 'tag' && (node.type === 'map' || node.type === 'list' || node.type === 'null'))
      throw new CelError(`a tag cannot be a ${node.type}`, node.at)
    for (const name of new Set(attributesOf(node)))
      if (celAttribute(name)?.noData === true) report('SP8405', at, `${name} never has a value here`)
    return true
  } catch (error) {
    if (!(error instanceof CelError)) throw error
    report('SP8401', at, `${JSON.stringify(text)}, column ${error.column}: ${error.message}`)
    return false
  }
}

function attributesOf(node: CelNode): readonly string[] {
  switch (node.kind) {
    case 'literal':
      return []
    case 'attribute':
      return [node.name]
    case 'entry':
      return [...attributesOf(node.map), ...attributesOf(node.key)]
    case 'has':
    case 'not':
    case 'negate':
      return attributesOf(node.of)
    case 'choose':
      return [node.test, node.yes, node.no].flatMap(attributesOf)
    case 'list':
      return node.items.flatMap(attributesOf)
    case 'call':
      return node.args.flatMap(attributesOf)
    case 'and':
    case 'or':
    case 'compare':
    case 'in':
    case 'arithmetic':
      return [...attributesOf(node.left), ...attributesOf(node.right)]
  }
}
