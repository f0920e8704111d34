// swift-tools-version: 6.2
import PackageDescription

// Decisions live in pure targets that need neither sockets nor libllama. SHOAL_PURE=1 builds and tests those alone, in
// seconds; the Makefile sets PKG_CONFIG_PATH to the engine prefix for everything else.
let pureOnly = Context.environment["SHOAL_PURE"] == "1"

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),  // SE-0335
    .enableUpcomingFeature("MemberImportVisibility"),  // SE-0444
    .enableUpcomingFeature("InternalImportsByDefault"),  // SE-0409
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),  // SE-0461
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func test(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

func product(_ name: String, _ package: String) -> Target.Dependency {
    .product(name: name, package: package)
}

let nioCore = product("NIOCore", "swift-nio")
let nioPosix = product("NIOPosix", "swift-nio")
let logging = product("Logging", "swift-log")

let pureTargets: [Target] = [
    library("ShoalCore"),
    library("ShoalModel", ["ShoalCore"]),
    library("ShoalPlanning", ["ShoalCore", "ShoalModel"]),
    library("ShoalScheduling", ["ShoalCore"]),
    library("ShoalMembership", ["ShoalCore"]),
    library("ShoalLaunch", ["ShoalCore"]),
    library("ShoalRPC", ["ShoalCore", "ShoalModel"]),
    test("ShoalCoreTests", ["ShoalCore"]),
    test("ShoalModelTests", ["ShoalCore", "ShoalModel"]),
    test("ShoalPlanningTests", ["ShoalCore", "ShoalModel", "ShoalPlanning"]),
    test("ShoalSchedulingTests", ["ShoalCore", "ShoalScheduling"]),
    test("ShoalMembershipTests", ["ShoalCore", "ShoalScheduling", "ShoalMembership"]),
    test("ShoalLaunchTests", ["ShoalCore", "ShoalLaunch"]),
    test("ShoalRPCTests", ["ShoalCore", "ShoalModel", "ShoalRPC"]),
    test("TidyTests", []),
]

let effectfulTargets: [Target] = [
    library(
        "ShoalStore",
        [
            "ShoalCore", "ShoalModel", product("SystemPackage", "swift-system"), product("Crypto", "swift-crypto"),
        ]),
    // Who a node is, and whom it trusts.
    library(
        "ShoalTrust",
        [
            "ShoalCore", product("Crypto", "swift-crypto"), product("X509", "swift-certificates"),
            product("SwiftASN1", "swift-asn1"), product("SystemPackage", "swift-system"),
        ]),
    // The data plane: frames, links, the engine's process.
    library("ShoalWire", ["ShoalCore", nioCore]),
    .target(name: "CShoalSystem"),
    library(
        "ShoalLinks",
        [
            "ShoalCore", "ShoalTrust", "ShoalWire", nioCore, nioPosix, logging, product("NIOSSL", "swift-nio-ssl"),
            product("NIOTLS", "swift-nio"), product("Crypto", "swift-crypto"),
        ]),
    library("ShoalEngine", ["ShoalCore", "ShoalWire", "ShoalLinks", "CShoalSystem", nioCore, nioPosix, logging]),
    // Who is there, and who reaches whom.
    library("ShoalDiscovery", ["ShoalCore", "ShoalLinks", nioCore, nioPosix, logging]),
    library("ShoalReach", ["ShoalCore", "ShoalLinks", "ShoalWire", "ShoalDiscovery", nioCore, nioPosix]),
    // llama.cpp's own RPC between two nodes, without the weights.
    library(
        "ShoalTunnel",
        [
            "ShoalCore", "ShoalModel", "ShoalStore", "ShoalLinks", "ShoalRPC", nioCore, nioPosix, logging,
            product("Crypto", "swift-crypto"), product("SystemPackage", "swift-system"),
        ]),
    // libllama: in shoal-engine and nowhere else.
    .systemLibrary(name: "CLlama", pkgConfig: "shoal-llama", providers: []),
    .target(name: "CShoalEngine", dependencies: ["CLlama"]),
    library("ShoalLlama", ["ShoalCore", "ShoalModel", "ShoalStore", "CLlama", "CShoalEngine"]),
    .executableTarget(
        name: "shoal-engine",
        dependencies: [
            "ShoalCore", "ShoalModel", "ShoalStore", "ShoalWire", "ShoalEngine", "ShoalLlama", "CShoalSystem", "CLlama",
            "CShoalEngine", nioCore,
        ],
        swiftSettings: settings),
    // The node and its API.
    library(
        "ShoalNode",
        [
            "ShoalCore", "ShoalModel", "ShoalStore", "ShoalPlanning", "ShoalScheduling", "ShoalMembership",
            "ShoalLaunch", "ShoalWire", "ShoalLinks", "ShoalEngine", "ShoalDiscovery", "ShoalReach", "ShoalTrust",
            "ShoalRPC", "ShoalTunnel", "CShoalSystem", nioCore, nioPosix, logging,
            product("SystemPackage", "swift-system"), product("NIOHTTP1", "swift-nio"),
            product("AsyncHTTPClient", "async-http-client"),
        ]),
    library(
        "ShoalGateway",
        [
            "ShoalCore", nioCore, logging, product("Hummingbird", "hummingbird"),
            product("HTTPTypes", "swift-http-types"), product("ServiceLifecycle", "swift-service-lifecycle"),
            product("AsyncHTTPClient", "async-http-client"), product("NIOHTTP1", "swift-nio"), nioPosix,
        ]),
    .executableTarget(
        name: "shoal",
        dependencies: [
            "ShoalCore", "ShoalStore", "ShoalTrust", "ShoalNode", "ShoalGateway", nioCore, nioPosix, logging,
            product("ArgumentParser", "swift-argument-parser"), product("AsyncHTTPClient", "async-http-client"),
            product("Configuration", "swift-configuration"), product("ServiceLifecycle", "swift-service-lifecycle"),
            product("UnixSignals", "swift-service-lifecycle"), product("NIOHTTP1", "swift-nio"),
            product("SystemPackage", "swift-system"),
        ],
        swiftSettings: settings),
    library(
        "ShoalTesting",
        [
            "ShoalCore", "ShoalTrust", "ShoalWire", "ShoalLinks", "ShoalEngine", "CShoalSystem", nioCore, nioPosix,
            logging,
        ]),
    test("ShoalTrustTests", ["ShoalCore", "ShoalTrust", product("SystemPackage", "swift-system")]),
    test("ShoalStoreTests", ["ShoalCore", "ShoalModel", "ShoalStore"]),
    test(
        "ShoalWireTests",
        [
            "ShoalCore", "ShoalWire", nioCore, product("NIOEmbedded", "swift-nio"),
            product("NIOTestUtils", "swift-nio"),
        ]),
    test(
        "ShoalLinksTests",
        [
            "ShoalCore", "ShoalTrust", "ShoalWire", "ShoalLinks", "ShoalTesting", "CShoalSystem", nioCore, nioPosix,
            product("NIOEmbedded", "swift-nio"), product("NIOSSL", "swift-nio-ssl"), product("NIOTLS", "swift-nio"),
        ]),
    test("ShoalDiscoveryTests", ["ShoalCore", "ShoalLinks", "ShoalDiscovery", nioCore, nioPosix, logging]),
    test(
        "ShoalReachTests",
        ["ShoalCore", "ShoalLinks", "ShoalWire", "ShoalDiscovery", "ShoalReach", "ShoalTesting", nioCore, nioPosix]),
    test(
        "ShoalTunnelTests",
        [
            "ShoalCore", "ShoalModel", "ShoalStore", "ShoalTrust", "ShoalLinks", "ShoalRPC", "ShoalTunnel",
            "ShoalTesting",
            nioCore,
            nioPosix, logging, product("AsyncHTTPClient", "async-http-client"), product("NIOHTTP1", "swift-nio"),
            product("Crypto", "swift-crypto"),
        ]),
    test(
        "ShoalEngineTests",
        [
            "ShoalCore", "ShoalModel", "ShoalPlanning", "ShoalStore", "ShoalWire", "ShoalLinks", "ShoalEngine",
            "ShoalTesting", nioCore, nioPosix,
        ]),
    test(
        "ShoalNodeTests",
        [
            "ShoalCore", "ShoalModel", "ShoalStore", "ShoalTrust", "ShoalWire", "ShoalLinks", "ShoalEngine",
            "ShoalNode", "ShoalMembership", "ShoalDiscovery", "ShoalReach",
            "ShoalScheduling", "ShoalTesting", nioCore, nioPosix, logging,
        ]),
    test(
        "ShoalGatewayTests",
        [
            "ShoalCore", "ShoalGateway", nioCore, nioPosix, logging, product("Hummingbird", "hummingbird"),
            product("HTTPTypes", "swift-http-types"), product("HummingbirdTesting", "hummingbird"),
        ]),
    test(
        "ShoalCommandTests",
        ["ShoalCore", "ShoalTrust", "shoal", logging, product("ArgumentParser", "swift-argument-parser")]),
    // Inputs that nobody would send, made up from a seed.
    test(
        "ShoalFuzzTests",
        [
            "ShoalCore", "ShoalModel", "ShoalTrust", "ShoalWire", "ShoalLinks", "ShoalDiscovery", "ShoalGateway",
            "ShoalEngine", "ShoalTesting", nioCore,
        ]),
    test(
        "ShoalEndToEndTests",
        [
            "ShoalCore", "ShoalTrust", "ShoalWire", "ShoalLinks", "ShoalDiscovery", "ShoalTesting", "shoal",
            "shoal-engine", nioCore, nioPosix, logging, product("NIOHTTP1", "swift-nio"),
            product("NIOSSL", "swift-nio-ssl"), product("AsyncHTTPClient", "async-http-client"),
        ],
        // Programs that the tests run or compile themselves.
        exclude: ["clients"]),
]

let package = Package(
    name: "shoal",
    platforms: [.macOS(.v15)],
    products: pureOnly
        ? []
        : [
            .executable(name: "shoal", targets: ["shoal"]),
            .executable(name: "shoal-engine", targets: ["shoal-engine"]),
        ],
    dependencies: pureOnly
        ? []
        : [
            .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
            .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
            .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
            .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
            .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
            .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
            .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
            .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
            .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
            .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
            .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
            .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
            .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        ],
    targets: pureOnly ? pureTargets : pureTargets + effectfulTargets,
    cxxLanguageStandard: .cxx17
)
