"""Policies: what an agent may do over a connection. Pure: no I/O, no clock, nothing of ours but words and JSON.

    validate   is this a policy?                      document            -> Validation
    compile    prepare it once                        document + facts    -> Policy
    decide     may this call go out?                  request + policy    -> Allow | Deny | Hold
    replies    what may come back?                    request + policy    -> ReplyRule ..., filtered values
    explain    why?                                   request + policy    -> Explanation
    presets    policies somebody has thought about    template + tier     -> document

Source: contract/policy.md.
"""
