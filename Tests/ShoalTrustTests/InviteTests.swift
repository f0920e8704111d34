import ShoalCore
import Testing

@testable import ShoalTrust

@Suite("Invites")
struct InviteTests {
    private let node = NodeID(String(repeating: "ab", count: 32))
    private let now = 1_000_000

    @Test("an invite works once, for one node, which may ask again")
    func once() throws {
        var book = InviteBook()
        let invite = try book.issue(now: now)
        let (first, second) = (NodeID.random(), NodeID.random())
        try book.redeem(invite.id, by: first, now: now + 10)
        try book.redeem(invite.id, by: first, now: now + 20)
        let error = #expect(throws: ShoalError.self) { try book.redeem(invite.id, by: second, now: now + 30) }
        #expect(error?.code == .notAMember)
        #expect(error?.message.contains("used already") == true)
    }

    @Test("an invite ends at its expiry, to the second")
    func expiry() throws {
        var book = InviteBook()
        let invite = try book.issue(lifetimeSeconds: 60, now: now)
        let error = #expect(throws: ShoalError.self) { try book.redeem(invite.id, by: .random(), now: now + 60) }
        #expect(error?.message.contains("expired 0 seconds ago") == true)
        try book.redeem(invite.id, by: .random(), now: now + 59)
    }

    @Test("a revoked invite is refused with that reason, an unknown one cannot be revoked")
    func revoked() throws {
        var book = InviteBook()
        let invite = try book.issue(now: now)
        try book.revoke(invite.id)
        let error = #expect(throws: ShoalError.self) { try book.redeem(invite.id, by: .random(), now: now) }
        #expect(error?.message.contains("revoked") == true)
        #expect(throws: ShoalError.self) { try book.revoke("0011223344556677") }
    }

    @Test("the book is bounded: the dead make room, open ones do not")
    func bounded() throws {
        var book = InviteBook()
        let first = try book.issue(now: now)
        for _ in 1..<InviteBook.countMax { _ = try book.issue(now: now) }
        let error = #expect(throws: ShoalError.self) { try book.issue(now: now) }
        #expect(error?.code == .overloaded)
        try book.revoke(first.id)
        _ = try book.issue(now: now)
        #expect(book.all.count == InviteBook.countMax)
        #expect(book.invite(first.id) == nil)
    }

    @Test("invites are remembered for a day after their end, then strangers get no handshake")
    func retention() throws {
        var book = InviteBook()
        _ = try book.issue(lifetimeSeconds: 60, now: now)
        #expect(book.hasInvites(now: now + 60 + InviteBook.retentionSeconds - 1))
        #expect(!book.hasInvites(now: now + 60 + InviteBook.retentionSeconds))
    }

    @Test("lifetimes outside the limits are refused", arguments: [0, -1, Limits.inviteLifetimeSecondsMax + 1, .max])
    func lifetimes(seconds: Int) {
        var book = InviteBook()
        #expect(throws: ShoalError.self) { try book.issue(lifetimeSeconds: seconds, now: now) }
    }

    // MARK: The code

    private func code(_ addresses: [String] = ["192.168.1.10:7461", "[fd7a:115c::1]:7461", "host.lan:1"]) throws
        -> InviteCode
    {
        try InviteCode(
            clusterID: "0123456789abcdef", issuer: #require(node), secret: .random(), addresses: addresses)
    }

    @Test("a code reads back as it was written, in lower case and broken into lines too")
    func roundTrip() throws {
        for _ in 0..<50 {
            let code = try code()
            let text = code.description
            #expect(try InviteCode(parsing: text) == code)
            #expect(
                try InviteCode(parsing: " \(text.lowercased().prefix(40))-\n\(text.lowercased().dropFirst(40)) ")
                    == code)
            #expect(text.allSatisfy { $0.isASCII && ($0.isNumber || $0.isUppercase) })
        }
    }

    @Test("the checksum catches every wrong character and every swap of neighbours")
    func typos() throws {
        let text = Array(try code().description)
        let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
        for index in "SHOAL1".count..<text.count {
            for letter in alphabet where letter != text[index] {
                var wrong = text
                wrong[index] = letter
                #expect(throws: ShoalError.self, "\(letter) at \(index)") { try InviteCode(parsing: String(wrong)) }
            }
            guard index + 1 < text.count, text[index] != text[index + 1] else { continue }
            var swapped = text
            swapped.swapAt(index, index + 1)
            #expect(throws: ShoalError.self, "swap at \(index)") { try InviteCode(parsing: String(swapped)) }
        }
    }

    @Test("a code cut at any place is refused")
    func cut() throws {
        let text = try code().description
        for length in 0..<text.count {
            let error = #expect(throws: ShoalError.self) { try InviteCode(parsing: String(text.prefix(length))) }
            #expect(error?.message.contains("not a usable invite code") == true)
        }
    }

    @Test("random text is refused")
    func garbage() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let bytes = (0..<Int.random(in: 0...120, using: &random)).map { _ in UInt8.random(in: .min ... .max) }
            #expect(throws: ShoalError.self, "\(bytes)") { try InviteCode(parsing: "SHOAL1" + Base32.text(bytes)) }
        }
        #expect(throws: ShoalError.self) { try InviteCode(parsing: String(repeating: "A", count: 5000)) }
        #expect(throws: ShoalError.self) { try InviteCode(parsing: "sk-proj-123") }
    }

    @Test("an invite needs an address, and not too many", arguments: [0, 9])
    func addressCount(count: Int) {
        #expect(throws: ShoalError.self) { try code(Array(repeating: "10.0.0.1:1", count: count)) }
    }

    @Test("base 32 takes the letters that look like digits, and nothing after the last byte")
    func base32() {
        #expect(Base32.bytes("0O".utf8) == Base32.bytes("00".utf8))
        #expect(Base32.bytes("ilIL".utf8) == Base32.bytes("1111".utf8))
        #expect(Base32.text([0xFF, 0x01]) == "ZW0G")
        #expect(Base32.bytes("ZW0G".utf8) == [0xFF, 0x01])
        #expect(Base32.bytes("ZW0H".utf8) == nil)
        #expect(Base32.bytes("U".utf8) == nil)
    }
}
