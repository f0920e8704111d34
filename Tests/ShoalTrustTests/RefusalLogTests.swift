import Testing

@testable import ShoalTrust

@Suite("Which refusals are logged")
struct RefusalLogTests {
    private let start = Duration.seconds(1000)

    @Test("the same reason of the same host is told once in an hour")
    func once() {
        var log = RefusalLog()
        #expect(log.note(host: "a", reason: "this invite was revoked", now: start) == .tell)
        #expect(log.note(host: "a", reason: "this invite was revoked", now: start + .seconds(3599)) == .silence)
        #expect(log.note(host: "b", reason: "this invite was revoked", now: start) == .tell)
        #expect(log.note(host: "a", reason: "this invite was used", now: start) == .tell)
        #expect(log.note(host: "a", reason: "this invite was revoked", now: start + .seconds(3600)) == .tell)
    }

    @Test("numbers do not make another reason, node ids do")
    func numbers() {
        var log = RefusalLog()
        let ids = ["ab12", "cd34"].map { String(repeating: $0, count: 16) }
        #expect(log.note(host: "a", reason: "expired 7 seconds ago, from 10.0.0.1:4711", now: start) == .tell)
        #expect(log.note(host: "a", reason: "expired 18 seconds ago, from 10.0.0.1:4712", now: start) == .silence)
        #expect(log.note(host: "a", reason: "node \(ids[0]) is no member", now: start) == .tell)
        #expect(log.note(host: "a", reason: "node \(ids[1]) is no member", now: start) == .tell)
        #expect(log.note(host: "a", reason: "node \(ids[1]) is no member", now: start) == .silence)
    }

    @Test("a host that invents reasons is silenced, the others are not")
    func inventive() {
        var log = RefusalLog()
        let answers = (0..<20).map { index in
            log.note(host: "a", reason: String(repeating: "x", count: index + 1), now: start)
        }
        #expect(answers.prefix(7).allSatisfy { $0 == .tell })
        #expect(answers[7] == .tellLast)
        #expect(answers.dropFirst(8).allSatisfy { $0 == .silence })
        #expect(log.note(host: "b", reason: "x", now: start) == .tell)
    }

    @Test("many hosts together are silenced until the hour is over")
    func manyHosts() {
        var log = RefusalLog()
        let answers = (0..<300).map { log.note(host: "host-\($0)", reason: "x", now: start) }
        #expect(answers.count { $0 == .tell } == RefusalLog.reasonsMax - 1)
        #expect(answers.count { $0 == .tellLast } == 1)
        #expect(log.note(host: "host-299", reason: "x", now: start + RefusalLog.period) == .tell)
    }
}
