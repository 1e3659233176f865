"""What takes the place of one database transaction when its tables move to several services.

Use it where one piece of business changes what several services own. Not where one database can
still do it: its own transaction is simpler, faster and isolated.

| home | for |
|---|---|
| `saga` | steps that are each undone if a later one fails: the usual answer |
| `outbox` | telling other services what happened, not before it did and not without telling |
| `tcc` | services that reserve, then all confirm, or all let go |
| `twophase` | one program and several databases: all commit, or none |
| `barrier` | a participant of a saga or of TCC: each call counts once |
| `isolation` | what others must not see, overwrite or overtake between the steps of a saga |
| `idempotency` | HTTP APIs: a request that is sent twice is done once |

Guarantees, of all of them: what was promised survives a kill at any moment; an effect that is
asked for twice happens once; what cannot be finished by a program is kept, and says what a person
has to decide.
"""
