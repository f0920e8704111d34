import ShoalCore
import ShoalReach
import Testing

@Suite("The matrix of who reaches whom")
struct ReachMatrixTests {
    @Test("the newest row of an address wins, in whatever order rows arrive")
    func newestWins() {
        let old = Samples.row(1, 2, .open, at: 10)
        let new = Samples.row(1, 2, .timedOut, at: 20)
        #expect(Samples.matrix([old, new]).rows == [new])
        #expect(Samples.matrix([new, old]).rows == [new])
        var matrix = Samples.matrix([new])
        let isChanged = [matrix.merge([old]), matrix.merge([new])]
        #expect(isChanged == [false, false])
    }

    @Test("merging in any order, with repeats, gives the same matrix", arguments: Array(1...30) as [UInt64])
    func convergence(seed: UInt64) {
        var random = ShuffleGenerator(state: seed)
        let states = ReachState.allCases
        let rows = (0..<200).map { index in
            let mixed = (seed &* 0x9E37_79B9 &+ UInt64(index)) &* 0x2545_F491_4F6C_DD1D >> 20
            return Samples.row(
                Int(mixed % 3) + 1, Int((mixed >> 3) % 3) + 4, states[Int((mixed >> 6) % 5)],
                address: "10.0.0.\((mixed >> 9) % 6):1", at: Int64((mixed >> 12) % 5))
        }
        let first = Samples.matrix(rows)
        let shuffled = rows.shuffled(using: &random) + rows.shuffled(using: &random)
        #expect(Samples.matrix(shuffled).rows == first.rows, "seed \(seed)")
    }

    @Test("a pair keeps a bounded number of addresses, the newest ones")
    func pairBound() {
        let rows = (0..<50).map { Samples.row(1, 2, address: "10.0.0.\($0):1", at: Int64($0)) }
        let kept = Samples.matrix(rows).rows
        #expect(kept.count == ReachMatrix.addressesPerPairMax)
        #expect(kept.allSatisfy { $0.measuredUnixMilliseconds >= 42 })
    }

    @Test("rows that no measurement gives are dropped")
    func hostileRows() {
        var long = Samples.row(1, 2)
        long.address = String(repeating: "x", count: 1000)
        var endless = Samples.row(1, 2, roundTrip: 1)
        endless.quality?.roundTripMilliseconds = .infinity
        var negative = Samples.row(1, 2)
        negative.measuredUnixMilliseconds = -1
        #expect(Samples.matrix([long, endless, negative, Samples.row(1, 1)]).rows.isEmpty)
    }

    @Test("a node that left is forgotten in both directions")
    func forgetting() {
        var matrix = Samples.cluster()
        matrix.keep(only: [Samples.node(1), Samples.node(2)])
        #expect(matrix.rows.count == 2)
    }

    @Test("the best address is open, without stalls, and near, in this order")
    func best() {
        let matrix = Samples.matrix([
            Samples.row(1, 2, .timedOut, address: "a:1"), Samples.row(1, 2, address: "b:1", roundTrip: 50),
            Samples.row(1, 2, address: "c:1", roundTrip: 2, bulkPassed: false),
            Samples.row(1, 2, address: "d:1", roundTrip: 5, bulkPassed: true),
        ])
        #expect(matrix.best(from: Samples.node(1), to: Samples.node(2))?.address == "d:1")
    }

    @Test("median and jitter are those of the pings")
    func quality() throws {
        let quality = try #require(LinkQuality(pings: [4, 1, 2, 100, 3].map(Duration.milliseconds)))
        #expect(quality.roundTripMilliseconds == 3)
        #expect(quality.jitterMilliseconds == 1)
        #expect(LinkQuality(pings: []) == nil)
    }

    @Test("a node's rows are replaced as a whole, and nobody else's with them")
    func replaced() {
        var matrix = Samples.matrix([
            Samples.row(1, 2), Samples.row(1, 2, address: "10.9.9.9:1"), Samples.row(2, 1), Samples.row(1, 3),
        ])
        matrix.replace(
            rowsOf: Samples.node(1),
            with: [Samples.row(1, 2, .timedOut, at: 2000), Samples.row(2, 1, .refused, at: 2000)])
        #expect(matrix.rows == [Samples.row(1, 2, .timedOut, at: 2000), Samples.row(2, 1)])
    }

    @Test("an address that a node has no more is forgotten once it is not open")
    func outdated() {
        var matrix = Samples.matrix([
            Samples.row(1, 2), Samples.row(1, 2, .timedOut, address: "10.9.9.9:1"),
            Samples.row(3, 2, .timedOut, address: "10.9.9.9:1"),
        ])
        matrix.forgetClosed(from: Samples.node(1), to: Samples.node(2), besides: [])
        #expect(matrix.rows.map(\.from) == [Samples.node(1), Samples.node(3)])
        #expect(matrix.rows.first?.address == Samples.address(2))
    }
}

/// A generator whose numbers its seed determines.
private struct ShuffleGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}
