/** An expression after parsing and checking: every node knows its type, every attribute exists. */
import type { CelAttribute, CelType } from './attributes.ts'

export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>='
export type Arithmetic = '+' | '-' | '*' | '/' | '%'

type Kind =
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  | { readonly kind: 'attribute'; readonly name: CelAttribute }
  /** `map['key']`, `map.key`. */
  | { readonly kind: 'entry'; readonly map: CelNode; readonly key: CelNode }
  | { readonly kind: 'has'; readonly of: CelNode }
  | { readonly kind: 'not' | 'negate'; readonly of: CelNode }
  | { readonly kind: 'and' | 'or'; readonly left: CelNode; readonly right: CelNode }
  | { readonly kind: 'choose'; readonly test: CelNode; readonly yes: CelNode; readonly no: CelNode }
  | {
      readonly kind: 'compare'
      readonly operator: Comparison
      readonly left: CelNode
      readonly right: CelNode
    }
  | { readonly kind: 'in'; readonly left: CelNode; readonly right: CelNode }
  | {
      readonly kind: 'arithmetic'
      readonly operator: Arithmetic
      readonly left: CelNode
      readonly right: CelNode
    }
  | { readonly kind: 'list'; readonly items: readonly CelNode[] }
  | { readonly kind: 'call'; readonly name: CelFunction; readonly args: readonly CelNode[] }

export type CelFunction = 'startsWith' | 'endsWith' | 'contains' | 'matches' | 'size' | 'string' | 'int' | 'double'

/** `at`: offset in the expression. */
export type CelNode = Kind & { readonly type: CelType; readonly at: number }
