import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalTesting
import ShoalTrust
import Synchronization
import Testing

@Suite("Joining by an invite", .timeLimit(.minutes(5)))
struct JoinTests {
    private func join(
        _ code: InviteCode, as security: LinkSecurity, on group: MultiThreadedEventLoopGroup
    ) async throws(ShoalError) {
        try await LinkDialer.join(
            code, eventLoop: group.next(), security: security, hello: LinkFixture.hello(of: security))
    }

    private func code(of security: LinkSecurity, _ listener: LinkListener, port: UInt16? = nil) throws -> InviteCode {
        let address = "127.0.0.1:\(port ?? listener.boundAddress.port)"
        return try security.trust.invite(addresses: [address], lifetimeSeconds: 60, now: 1_000_000).1
    }

    @Test("a joined node links with every member")
    func joins() async throws {
        try await withEventLoops { group in
            let members = try TestTrust.members(["a", "b"])
            let joiner = try TestTrust.alone("c")
            let listener = try await LinkFixture.listener(on: group, security: members[0], into: EventRecorder())
            try await join(code(of: members[0], listener), as: joiner, on: group)
            #expect(joiner.trust.members.map(\.name).sorted() == ["a", "b", "c"])
            let (connection, hello) = try await LinkDialer.dial(
                listener.boundAddress, eventLoop: group.next(), security: joiner, hello: LinkFixture.hello(of: joiner))
            #expect(hello.nodeID == members[0].trust.nodeID)
            connection.close(because: nil)
            await listener.close()

            // The others hear of it by gossip.
            try members[1].trust.merge(members[0].trust.records)
            #expect(members[1].trust.isMember(joiner.trust.nodeID))
        }
    }

    @Test("used, revoked and expired codes are refused over the network with their sentences")
    func refused() async throws {
        try await withEventLoops { group in
            let clock = Mutex(1_000_000)
            let issuer = try TestTrust.alone("a", unixSeconds: { clock.withLock { $0 } })
            let listener = try await LinkFixture.listener(on: group, security: issuer, into: EventRecorder())
            let (used, revoked, expired) = (
                try code(of: issuer, listener), try code(of: issuer, listener), try code(of: issuer, listener)
            )
            try await join(used, as: TestTrust.alone("first"), on: group)
            try issuer.trust.revokeInvite(revoked.secret.inviteID)
            clock.withLock { $0 += 50 }
            for (code, sentence) in [(used, "used already"), (revoked, "was revoked"), (expired, "expired 10 seconds")]
            {
                if sentence.hasPrefix("expired") { clock.withLock { $0 += 20 } }
                let joiner = try TestTrust.alone("late")
                let error = await #expect(throws: ShoalError.self) { try await join(code, as: joiner, on: group) }
                #expect(error?.code == .notAMember)
                #expect(error?.message.contains(sentence) == true, "\(error as Any)")
                #expect(error?.message.contains("\(listener.boundAddress)") == true)
                #expect(!issuer.trust.isMember(joiner.trust.nodeID))
            }
            await listener.close()
        }
    }

    @Test("another node at the issuer's address is not told anything")
    func wrongIssuer() async throws {
        try await withEventLoops { group in
            let impostor = try TestTrust.alone("impostor", sharedKey: .random())
            let listener = try await LinkFixture.listener(on: group, security: impostor, into: EventRecorder())
            let issuer = try TestTrust.alone("issuer")
            let error = await #expect(throws: ShoalError.self) {
                try await join(code(of: issuer, listener), as: TestTrust.alone("c"), on: group)
            }
            #expect(error?.message.contains("another node answers there") == true, "\(error as Any)")
            await listener.close()
        }
    }

    @Test("an address where another node answers now is passed over")
    func reusedAddress() async throws {
        try await withEventLoops { group in
            let other = try await LinkFixture.listener(
                on: group, security: TestTrust.alone("other", sharedKey: .random()), into: EventRecorder())
            let issuer = try TestTrust.alone("a")
            let listener = try await LinkFixture.listener(on: group, security: issuer, into: EventRecorder())
            let addresses = [other.boundAddress, listener.boundAddress].map(\.description)
            let code = try issuer.trust.invite(addresses: addresses, lifetimeSeconds: 60, now: 1_000_000).1
            let joiner = try TestTrust.alone("c")
            try await join(code, as: joiner, on: group)
            #expect(joiner.trust.isMember(issuer.trust.nodeID))
            await other.close()
            await listener.close()
        }
    }

    @Test("an address that does not answer is passed over")
    func secondAddress() async throws {
        try await withEventLoops { group in
            let issuer = try TestTrust.alone("a")
            let gone = try await LinkFixture.listener(on: group, security: issuer, into: EventRecorder())
            await gone.close()
            let listener = try await LinkFixture.listener(on: group, security: issuer, into: EventRecorder())
            let addresses = [gone.boundAddress, listener.boundAddress].map(\.description)
            let code = try issuer.trust.invite(addresses: addresses, lifetimeSeconds: 60, now: 1_000_000).1
            let joiner = try TestTrust.alone("c")
            try await join(code, as: joiner, on: group)
            #expect(joiner.trust.isMember(issuer.trust.nodeID))
            await listener.close()
            let error = await #expect(throws: ShoalError.self) {
                try await join(code, as: TestTrust.alone("d"), on: group)
            }
            #expect(error?.message.contains("\(gone.boundAddress)") == true, "\(error as Any)")
            #expect(error?.message.contains("nothing listens at \(listener.boundAddress)") == true)
        }
    }
}
