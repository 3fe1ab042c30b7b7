namespace BuildKit.Llb;

/// <summary>Capabilities of the protocol between frontends and the daemon (spec 01 §4).</summary>
public static class GatewayCaps
{
#pragma warning disable CS1591 // the ids say it
    public const string FrontendCaps = "frontend.caps";
    public const string FrontendInputs = "frontend.inputs";
    public const string GatewayEvaluate = "gateway.evaluate";
    public const string GatewayExec = "gateway.exec";
    public const string GatewayExecExtraHosts = "gateway.exec.extrahosts";
    public const string GatewayExecSecretEnv = "gateway.exec.secretenv";
    public const string GatewayExecSignals = "gateway.exec.signals";
    public const string GatewaySolveEvaluate = "gateway.solve.evaluate";
    public const string GatewaySolveMetadata = "gateway.solve.metadata";
    public const string GatewayWarnings = "gateway.warnings";
    public const string ImportCaches = "importcaches";
    public const string ProtoRefArray = "proto.refarray";
    public const string ReadDir = "readdir";
    public const string ReadFile = "readfile";
    public const string ReferenceAttestations = "reference.attestations";
    public const string ReferenceOutput = "reference.output";
    public const string ResolveImage = "resolveimage";
    public const string ResolveImageResolveMode = "resolveimage.resolvemode";
    public const string Return = "return";
    public const string ReturnMap = "returnmap";
    public const string SolveBase = "solve.base";
    public const string SolveInlineReturn = "solve.inlinereturn";
    public const string SourceMetaResolver = "source.metaresolver";
    public const string StatFile = "statfile";
#pragma warning restore CS1591

    /// <summary>Every capability we know, sorted by id: what a daemon publishes and what a frontend may ask for.</summary>
    public static CapabilityList All { get; } = new(
    [
        new(FrontendCaps), new(FrontendInputs), new(GatewayEvaluate), new(GatewayExec), new(GatewayExecExtraHosts),
        new(GatewayExecSecretEnv), new(GatewayExecSignals), new(GatewaySolveEvaluate), new(GatewaySolveMetadata),
        new(GatewayWarnings), new(ImportCaches), new(ProtoRefArray), new(ReadDir), new(ReadFile),
        new(ReferenceAttestations), new(ReferenceOutput), new(ResolveImage), new(ResolveImageResolveMode), new(Return),
        new(ReturnMap), new(SolveBase), new(SolveInlineReturn) { Deprecated = true }, new(SourceMetaResolver), new(StatFile),
    ]);

    /// <summary>What a daemon that publishes no list is taken to know.</summary>
    public static IReadOnlyList<string> Oldest { get; } = [SolveBase, SolveInlineReturn, ResolveImage, ReadFile];
}
