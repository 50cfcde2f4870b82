"""One download: the pure state, the thread that follows it, the handle that users hold. Draws nothing.

The way of a percentage, one hop a room: `wire.websocket` reads the frame, `model.models` makes a progress of it,
`download.state` says what it means, `download.throttle` when to show it, `views.notebook` draws it.

Pure: `evidence` (what was heard, of when), `values` (phases, events, the state), `ends` (when the evidence settles an
end), `speed`, `state` (what an event does). Then `follower`, the thread, `subscribers`, the views' threads, `download`.
"""
