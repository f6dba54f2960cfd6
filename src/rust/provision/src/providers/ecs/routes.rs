//! Whether tasks in a network that is named can pull their images: asked before, because ECS says so
//! after ten minutes.

use std::collections::BTreeSet;

use super::Fargate;
use super::network::Network;
use super::refused;
use crate::Error;
use crate::aws::Xml;
use crate::spec::ecs::Way;

/// What the subnets of private tasks need, where they have no other way out: ECS pulls, logs and
/// reads secrets through these.
const ENDPOINTS: [&str; 5] = ["ecr.api", "ecr.dkr", "s3", "logs", "ssm"];

/// Where a subnet sends what is not for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    /// To the Internet: what has a public address gets there.
    Internet,
    /// To something that passes it on: NAT, a transit gateway, an appliance.
    Through,
    /// Nowhere.
    Nowhere,
}

impl Fargate {
    /// Looks at the ways out of a network.
    ///
    /// # Errors
    /// Where tasks there could not start, or the client could not reach them.
    pub(super) async fn check_routes(&self, network: &Network) -> Result<(), Error> {
        let tables = self.described("DescribeRouteTables", &[("vpc-id", &network.vpc)]).await?;
        let mut endpoints = None;
        for subnet in &network.subnets {
            let out = out(&tables, subnet);
            let passes = match (out, self.ecs.public_ip) {
                (Out::Internet, true) => continue,
                (Out::Through, _) => true,
                _ => false,
            };
            if self.ecs.reach == Way::Public {
                return Err(refused(
                    &format!(
                        "the subnet {subnet} has no route to an Internet gateway, so a server \
                              there can't be reached by a public address"
                    ),
                    "Name subnets that have one, or say `reach = \"private\"` where this machine is \
                     in the VPC or has a VPN to it.",
                ));
            }
            if passes {
                continue;
            }
            if endpoints.is_none() {
                endpoints = Some(self.endpoints(&network.vpc).await?);
            }
            self.enough(subnet, out, endpoints.as_ref().unwrap_or(&BTreeSet::new()))?;
        }
        Ok(())
    }

    /// The endpoints of a VPC, by the ends of their names.
    async fn endpoints(&self, vpc: &str) -> Result<BTreeSet<String>, Error> {
        let xml = self.described("DescribeVpcEndpoints", &[("vpc-id", vpc)]).await?;
        let prefix = format!("{}.", self.aws.region());
        let names = xml.items("vpcEndpointSet").into_iter();
        let ends =
            names.filter_map(|end| Some(end.text("serviceName").split_once(&prefix)?.1.to_owned()));
        Ok(ends.collect())
    }

    /// Whether endpoints replace a way out.
    fn enough(&self, subnet: &str, out: Out, there: &BTreeSet<String>) -> Result<(), Error> {
        let shell = self.ecs.execute_command.then_some("ssmmessages");
        let wanted = ENDPOINTS.into_iter().chain(shell);
        let lacking: Vec<_> = wanted.filter(|end| !there.contains(*end)).collect();
        if !lacking.is_empty() {
            let way = if out == Out::Internet {
                "Say `publicIp = TRUE`: the subnet has a route to an Internet gateway. Or name \
                 subnets with a NAT gateway."
            } else {
                "Name subnets with a route to a NAT gateway, or add the endpoints."
            };
            let reason = format!(
                "tasks in the subnet {subnet} can't pull their images: it has no way out, and its \
                 VPC lacks the endpoints {}",
                lacking.join(", ")
            );
            return Err(refused(&reason, way));
        }
        let images = [
            self.ecs.carrier()?,
            self.ecs.image.as_deref().unwrap_or_default(),
            &self.ecs.server_image,
        ];
        match images.iter().find(|image| !image.contains(".dkr.ecr.")) {
            None => Ok(()),
            Some(image) => Err(refused(
                &format!("tasks in the subnet {subnet} reach Amazon ECR alone, not `{image}`"),
                "Copy the image into ECR, or name subnets with a route to a NAT gateway.",
            )),
        }
    }
}

/// Where a subnet's table sends everything, or that of its VPC where it has none of its own.
fn out(tables: &Xml, subnet: &str) -> Out {
    let tables = tables.items("routeTableSet");
    let has = |table: &&&Xml, field: &str, value: &str| {
        table.items("associationSet").iter().any(|item| item.text(field) == value)
    };
    let own = tables.iter().find(|table| has(table, "subnetId", subnet));
    let Some(table) = own.or_else(|| tables.iter().find(|table| has(table, "main", "true"))) else {
        return Out::Nowhere;
    };
    let routes = table.items("routeSet");
    let everything = routes.iter().find(|route| {
        route.text("destinationCidrBlock") == "0.0.0.0/0" && route.text("state") != "blackhole"
    });
    match everything {
        None => Out::Nowhere,
        Some(route) if route.text("gatewayId").starts_with("igw-") => Out::Internet,
        Some(_) => Out::Through,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(routes: &str, own: &str) -> Xml {
        let text = format!(
            "<R><routeTableSet>
             <item><associationSet><item><main>true</main></item></associationSet>
               <routeSet><item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock>
               <gatewayId>local</gatewayId></item></routeSet></item>
             <item><associationSet><item><subnetId>{own}</subnetId><main>false</main></item>
               </associationSet><routeSet>{routes}</routeSet></item>
             </routeTableSet></R>"
        );
        Xml::read("ec2:DescribeRouteTables", &text).expect("XML")
    }

    fn route(to: &str, more: &str) -> String {
        format!("<item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock>{to}{more}</item>")
    }

    #[test]
    fn a_subnets_way_out_is_that_of_its_own_table_or_of_the_main_one() {
        let igw = route("<gatewayId>igw-1</gatewayId>", "");
        let nat = route("<natGatewayId>nat-1</natGatewayId>", "");
        assert_eq!(out(&tables(&igw, "s"), "s"), Out::Internet);
        assert_eq!(out(&tables(&nat, "s"), "s"), Out::Through);
        assert_eq!(out(&tables(&igw, "s"), "other"), Out::Nowhere);
        assert_eq!(out(&tables("", "s"), "s"), Out::Nowhere);
        let dead = route("<natGatewayId>nat-1</natGatewayId>", "<state>blackhole</state>");
        assert_eq!(out(&tables(&dead, "s"), "s"), Out::Nowhere);
    }
}
