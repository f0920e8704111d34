package import ShoalCore

/// The course of one measurement: pings one after the other, then, if wanted, chunks with a window of some in flight.
/// Pure: time is a parameter. Numbers of frames count from zero, pings first.
package struct ProbeConversation: Sendable {
    /// Sizes and limits of a measurement.
    package struct Configuration: Sendable {
        package var pingCount = 9
        /// 0: no bulk.
        package var bulkByteCount = 10_000_000
        package var chunkByteCount = 65536
        /// Enough to fill 100 MB/s at 10 ms.
        package var chunksInFlightMax = 16
        /// A pause between answers of more than this is a stall: twice what WiFi does normally.
        package var stallMin = Duration.milliseconds(600)
        /// Without an answer for so long, the measurement has failed.
        package var silenceMax = Duration.seconds(5)

        package init() {}
    }

    package enum Action: Hashable, Sendable {
        /// A `ping` frame with this number and so many bytes of payload.
        case send(number: UInt64, payloadByteCount: Int)
        case finished(LinkQuality)
        case failed(ShoalError)
    }

    private let configuration: Configuration
    private var sentAt: Duration
    private var progressedAt: Duration
    private var pings: [Duration] = []
    private var nextNumber: UInt64 = 0
    private var answeredNumber: UInt64 = 0
    private var bulkStartedAt = Duration.zero
    private var longestPause = Duration.zero
    private var isOver = false

    package init(configuration: Configuration, now: Duration) {
        self.configuration = configuration
        sentAt = now
        progressedAt = now
    }

    private var chunkCount: Int {
        (configuration.bulkByteCount + configuration.chunkByteCount - 1) / configuration.chunkByteCount
    }

    package mutating func start(now: Duration) -> [Action] { send(0, now: now) }

    /// An answer came. Answers come in the order of the frames; another number ends the measurement.
    package mutating func answered(_ number: UInt64, now: Duration) -> [Action] {
        guard !isOver else { return [] }
        guard number == answeredNumber, number < nextNumber else {
            return fail(.protocolViolation, "answer \(number) came in a measurement that awaits \(answeredNumber)")
        }
        let pause = now - progressedAt
        progressedAt = now
        answeredNumber += 1
        return number < UInt64(configuration.pingCount) ? pingAnswered(now: now) : chunkAnswered(pause, now: now)
    }

    /// Ends a measurement that nobody answers any more. Call it at `deadline`.
    package mutating func tick(now: Duration) -> [Action] {
        guard !isOver, now >= deadline else { return [] }
        let seconds = oneDecimal((now - progressedAt) / .seconds(1))
        // Silence in the middle of bulk is the stall that was looked for, and worth knowing.
        if pings.count == configuration.pingCount, var quality = LinkQuality(pings: pings) {
            isOver = true
            quality.bulkPassed = false
            quality.longestStallMilliseconds = (now - progressedAt) / .milliseconds(1)
            return [.finished(quality)]
        }
        return fail(.timedOut, "no answer for \(seconds) s in the middle of a measurement")
    }

    /// When the peer must have answered at the latest.
    package var deadline: Duration { progressedAt + configuration.silenceMax }

    private mutating func pingAnswered(now: Duration) -> [Action] {
        pings.append(now - sentAt)
        guard pings.count == configuration.pingCount else { return send(0, now: now) }
        guard chunkCount > 0 else { return finish(now: now) }
        bulkStartedAt = now
        return (0..<min(configuration.chunksInFlightMax, chunkCount)).flatMap { _ in
            send(configuration.chunkByteCount, now: now)
        }
    }

    private mutating func chunkAnswered(_ pause: Duration, now: Duration) -> [Action] {
        longestPause = max(longestPause, pause)
        let total = UInt64(configuration.pingCount + chunkCount)
        guard answeredNumber < total else { return finish(now: now) }
        return nextNumber < total ? send(configuration.chunkByteCount, now: now) : []
    }

    private mutating func send(_ byteCount: Int, now: Duration) -> [Action] {
        sentAt = now
        nextNumber += 1
        return [.send(number: nextNumber - 1, payloadByteCount: byteCount)]
    }

    private mutating func finish(now: Duration) -> [Action] {
        isOver = true
        guard var quality = LinkQuality(pings: pings) else { return fail(.internal, "a measurement without pings") }
        if chunkCount > 0 {
            let seconds = max((now - bulkStartedAt) / .seconds(1), 1e-6)
            quality.bytesPerSecond = Double(chunkCount * configuration.chunkByteCount) / seconds
            quality.longestStallMilliseconds = longestPause / .milliseconds(1)
            quality.bulkPassed = longestPause < configuration.stallMin
        }
        return [.finished(quality)]
    }

    private mutating func fail(_ code: ShoalError.Code, _ message: String) -> [Action] {
        isOver = true
        return [.failed(ShoalError(code, message))]
    }
}
