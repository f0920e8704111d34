/// Which refusals of strangers are worth a line in the log, as a value; `now` is any monotonic time.
///
/// The same reason from the same host is told once in a `period`, however often it comes, and so many reasons of one
/// host and of all hosts together: a stranger chooses its key, its address and its nonsense, and must not fill a disk
/// with them.
package struct RefusalLog: Sendable {
    package enum Answer: Hashable, Sendable {
        case tell
        /// Told, and nothing more of this host, or of anybody, until the period is over.
        case tellLast
        case silence
    }

    package static let period = Duration.seconds(3600)
    /// Reasons of one host that are told in one period.
    package static let reasonsPerHostMax = 8
    /// Reasons of all hosts that are told in one period.
    package static let reasonsMax = 256

    /// Longer words are ids, not numbers and addresses.
    private static let idCharacterCountMin = 60

    private var periodBegan: Duration?
    private var told: Set<String> = []
    private var countByHost: [String: Int] = [:]

    package init() {}

    /// Reasons that differ in numbers only are the same: ports and seconds change with every attempt.
    package mutating func note(host: String, reason: String, now: Duration) -> Answer {
        if now - (periodBegan ?? now) >= Self.period { self = RefusalLog() }
        if periodBegan == nil { periodBegan = now }
        let key = "\(host) \(Self.kind(reason))"
        let hostCount = countByHost[host, default: 0]
        guard !told.contains(key), told.count < Self.reasonsMax, hostCount < Self.reasonsPerHostMax else {
            return .silence
        }
        told.insert(key)
        countByHost[host] = hostCount + 1
        let isLast = told.count == Self.reasonsMax || hostCount + 1 == Self.reasonsPerHostMax
        return isLast ? .tellLast : .tell
    }

    /// Node ids stay what they are: another key is another stranger.
    private static func kind(_ reason: String) -> String {
        reason.split(separator: " ").map { word in
            word.count >= idCharacterCountMin ? String(word) : word.filter { !$0.isNumber }
        }.joined(separator: " ")
    }
}
