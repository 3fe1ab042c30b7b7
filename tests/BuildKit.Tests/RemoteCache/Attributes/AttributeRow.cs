namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>One line of the table.</summary>
/// <param name="Type">Type of the cache.</param>
/// <param name="Side"><c>export</c> or <c>import</c>.</param>
/// <param name="Attribute">The attribute the line is about.</param>
/// <param name="Given">Attributes beside the basic ones of the type; <c>-NAME</c> takes one of those away.</param>
/// <param name="Facet">What is looked at; see <see cref="AttributeProbe.OutcomeAsync"/>.</param>
/// <param name="Expected">What is seen.</param>
/// <param name="Environment">Variables of the daemon.</param>
/// <param name="Before">Attributes of an export that came before; <c>nothing</c> for none.</param>
internal sealed record AttributeRow(string Type, string Side, string Attribute, string Given, string Facet, string Expected, string Environment = "", string Before = "");
