import Logging
import NIOCore
import NIOPosix
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import Testing

@Suite("Beacons on real sockets")
struct BeaconServiceTests {
    @Test("three services on one machine find each other over loopback", .timeLimit(.minutes(1)))
    func loopback() async throws {
        let beaconPort = UInt16.random(in: 20000..<30000)
        let (dials, continuation) = AsyncStream.makeStream(of: [NodeID].self)
        let lo = try Samples.interface("lo", "127.0.0.1", prefix: 8)
        var services: [BeaconService] = []
        for number in 1...3 {
            var configuration = try Samples.configuration(number, port: UInt16(7460 + number))
            configuration.beaconPort = beaconPort
            let own = configuration.node
            services.append(
                await BeaconService.start(
                    configuration, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), interfaces: { [lo] },
                    logger: Logger(label: "test"),
                    onDial: { _, node in if let node { continuation.yield([own, node]) } }))
        }
        var seen: Set<[NodeID]> = []
        for await dial in dials {
            seen.insert(dial)
            if seen.count == 6 { break }
        }
        for service in services {
            let known = await service.candidates()
            #expect(known.count == 2)
            #expect(known.allSatisfy { $0.address.host == "127.0.0.1" && $0.source == .beacon })
            await service.stop()
        }
    }

    @Test("a stopped service frees its sockets and ignores later calls")
    func stopping() async throws {
        let lo = try Samples.interface("lo", "127.0.0.1", prefix: 8)
        var configuration = try Samples.configuration(1)
        configuration.beaconPort = UInt16.random(in: 30000..<32000)
        let service = await BeaconService.start(
            configuration, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), interfaces: { [lo] },
            logger: Logger(label: "test"), onDial: { _, _ in Issue.record("dialled after stop") })
        await service.stop()
        service.addPeers([try Samples.address("127.0.0.1:9")], source: .configured)
        #expect(await service.candidates().isEmpty)
    }

    @Test("this machine's interfaces can be read and hold loopback")
    func systemInterfaces() throws {
        let interfaces = try SystemInterfaces.read()
        #expect(interfaces.contains { $0.address.addressClass == .loopback && $0.prefixLength == 8 })
    }
}
