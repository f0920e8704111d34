import NIOCore
import ShoalCore
import ShoalLinks
import ShoalScheduling
import ShoalWire

/// Where the time of this head's latest requests went.
extension HeadService {
    /// Latest first; nil asks for all that are remembered.
    func traces(of request: RequestID?) -> [TraceReport] {
        let wanted = tracer.latest.filter { request == nil || $0.request == request }
        // What the tracer remembers are durations; the wall clock is asked once, for people.
        let startedUnixSeconds = UnixClock.seconds() - Int(now / .seconds(1))
        return wanted.map { trace in
            var report = TraceReport(
                request: trace.request, instance: order.id, model: order.model.name,
                headName: node.configuration.name,
                startedUnixSeconds: startedUnixSeconds + Int(trace.startedAt / .seconds(1)),
                places: order.stages.map { TraceReport.Place(nodeName: $0.nodeName, layers: $0.layers) },
                prompt: trace.prompt, decode: trace.decode)
            report.firstLinkRoundTrip = Int(StageTimes.microseconds(firstLinkTimes.roundTrip ?? .zero))
            return report
        }
    }

    /// Once a second, so that traces can tell the link from the computation.
    func startPings() {
        firstLinkPings?.cancel()
        firstLinkPings = eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .seconds(1)) { [weak self] _ in
            self?.assumeIsolated { $0.ping() }
        }
    }

    func firstLinkPonged(_ number: UInt64) { firstLinkTimes.ponged(number, now: now) }

    private func ping() { firstStageLink?.send(Frame(kind: .ping, number: firstLinkTimes.pings(now: now))) }
}
